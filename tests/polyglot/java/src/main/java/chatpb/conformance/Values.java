package chatpb.conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;

/** JSON by value: objects without order, numbers by value. */
final class Values {
  private Values() {}

  /** Throws if two texts are not the same value. */
  static void same(String expected, String found) {
    if (!value(parse(expected)).equals(value(parse(found)))) {
      throw new AssertionError("expected the value of " + begin(expected) + ", got " + begin(found));
    }
  }

  static JsonElement parse(String text) {
    return JsonParser.parseString(text.startsWith("\ufeff") ? text.substring(1) : text);
  }

  private static String begin(String text) {
    return text.substring(0, Math.min(300, text.length()));
  }

  /** A value that `equals` compares as JSON. */
  private static Object value(JsonElement element) {
    if (element instanceof JsonObject object) {
      var members = new HashMap<String, Object>();
      object.entrySet().forEach(each -> members.put(each.getKey(), value(each.getValue())));
      return members;
    }
    if (element.isJsonArray()) {
      var items = new ArrayList<Object>();
      element.getAsJsonArray().forEach(each -> items.add(value(each)));
      return items;
    }
    if (element instanceof JsonPrimitive primitive && primitive.isNumber()) {
      return number(primitive.getAsString());
    }
    return element;
  }

  /** Integers by all of their digits, other numbers as the doubles that readers make of them. */
  private static Object number(String text) {
    BigDecimal exact;
    try {
      exact = new BigDecimal(text);
    } catch (NumberFormatException outOfRange) {
      return Double.valueOf(text);
    }
    boolean isInteger = text.chars().allMatch(each -> each == '-' || Character.isDigit(each));
    return isInteger ? exact.stripTrailingZeros() : normal(Double.parseDouble(text));
  }

  private static Object normal(double value) {
    return Double.isInfinite(value) || Double.isNaN(value)
        ? (Object) value
        : BigDecimal.valueOf(value).stripTrailingZeros();
  }
}
