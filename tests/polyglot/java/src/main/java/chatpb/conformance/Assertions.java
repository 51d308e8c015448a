package chatpb.conformance;

import static chatpb.conformance.Report.ensure;
import static chatpb.conformance.Report.expect;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.protobuf.ByteString;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;

/** What a file NAME.fields.json says of a message: a list of path, kind, value. */
final class Assertions {
  private Assertions() {}

  static void check(Message message, JsonArray assertions) {
    for (JsonElement each : assertions) {
      JsonArray assertion = each.getAsJsonArray();
      Object value = message;
      FieldDescriptor field = null;
      for (JsonElement step : assertion.get(0).getAsJsonArray()) {
        if (value instanceof Message inner) {
          field = field(inner, step.getAsString());
          value = inner.getField(field);
        } else {
          value = element(field, (List<?>) value, step);
        }
      }
      check(field, value, assertion.get(1).getAsString(), assertion.get(2), each.toString());
    }
  }

  private static void check(
      FieldDescriptor field, Object value, String kind, JsonElement wanted, String what) {
    switch (kind) {
      case "set", "unset" -> {
        var message = (Message) value;
        for (JsonElement name : wanted.getAsJsonArray()) {
          boolean isSet = message.hasField(field(message, name.getAsString()));
          expect(kind.equals("set"), isSet, what + " " + name);
        }
      }
      case "size" -> expect(wanted.getAsInt(), ((List<?>) value).size(), what);
      case "string" -> expect(wanted.getAsString(), value, what);
      case "bytes" -> expect(bytes(wanted), value, what);
      case "int" -> expect(wanted.getAsString(), integer(field, value), what);
      case "double" -> expect(wanted.getAsString(), bits((Double) value), what);
      case "bool" -> expect(wanted.getAsBoolean(), value, what);
      case "enum" -> expect(wanted.getAsInt(), ((EnumValueDescriptor) value).getNumber(), what);
      default -> throw new AssertionError("there is no kind of assertion " + kind);
    }
  }

  private static FieldDescriptor field(Message message, String name) {
    FieldDescriptor field = message.getDescriptorForType().findFieldByName(name);
    ensure(field != null, "there is no field " + name);
    return field;
  }

  /** The element of a list, or the value of a key: by reflection a map is a list of entries. */
  private static Object element(FieldDescriptor field, List<?> values, JsonElement step) {
    if (!field.isMapField()) {
      return values.get(step.getAsInt());
    }
    FieldDescriptor key = field.getMessageType().findFieldByNumber(1);
    FieldDescriptor value = field.getMessageType().findFieldByNumber(2);
    return values.stream()
        .map(Message.class::cast)
        .filter(entry -> entry.getField(key).equals(step.getAsString()))
        .map(entry -> entry.getField(value))
        .findFirst()
        .orElseThrow(() -> new AssertionError("there is no key " + step));
  }

  private static ByteString bytes(JsonElement base64) {
    return ByteString.copyFrom(Base64.getDecoder().decode(base64.getAsString()));
  }

  private static String integer(FieldDescriptor field, Object value) {
    return field.getType() == FieldDescriptor.Type.UINT32
        ? Integer.toUnsignedString((Integer) value)
        : value.toString();
  }

  private static String bits(double value) {
    return HexFormat.of().toHexDigits(Double.doubleToRawLongBits(value));
  }
}
