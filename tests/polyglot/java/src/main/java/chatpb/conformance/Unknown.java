package chatpb.conformance;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import com.google.protobuf.UnknownFieldSet;

/** Fields that the schema does not know. */
final class Unknown {
  private Unknown() {}

  /** The message without them, at all levels. Those in the values of maps are left. */
  static Message dropped(Message message) {
    Message.Builder builder = message.toBuilder();
    builder.setUnknownFields(UnknownFieldSet.getDefaultInstance());
    message.getAllFields().keySet().stream()
        .filter(field -> field.getJavaType() == FieldDescriptor.JavaType.MESSAGE)
        .filter(field -> !field.isMapField())
        .forEach(field -> drop(builder, field));
    return builder.build();
  }

  private static void drop(Message.Builder builder, FieldDescriptor field) {
    if (!field.isRepeated()) {
      builder.setField(field, dropped((Message) builder.getField(field)));
      return;
    }
    for (int index = 0; index < builder.getRepeatedFieldCount(field); index++) {
      var element = (Message) builder.getRepeatedField(field, index);
      builder.setRepeatedField(field, index, dropped(element));
    }
  }
}
