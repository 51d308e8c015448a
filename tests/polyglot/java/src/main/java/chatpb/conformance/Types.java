package chatpb.conformance;

import com.chatpb.v1.ChatCompletionProto;
import com.chatpb.v1.ChatCompletionServiceProto;
import com.chatpb.v1.CompletionRecordProto;
import com.chatpb.v1.ModelServiceProto;
import com.chatpb.v1.StoredChatCompletionServiceProto;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.Message;
import java.util.HashMap;
import java.util.Map;

/** The generated classes, by the full names of their messages. */
final class Types {
  private static final Map<String, Message> DEFAULTS = new HashMap<>();

  static {
    // With what they import, these are all files of the schema.
    add(ChatCompletionProto.getDescriptor());
    add(ChatCompletionServiceProto.getDescriptor());
    add(CompletionRecordProto.getDescriptor());
    add(ModelServiceProto.getDescriptor());
    add(StoredChatCompletionServiceProto.getDescriptor());
  }

  private Types() {}

  /** The message of a type in which nothing is set. */
  static Message of(String fullName) {
    return DEFAULTS.get(fullName);
  }

  private static void add(FileDescriptor file) {
    if (!file.getPackage().equals("chatpb.v1")) {
      return;
    }
    for (Descriptor type : file.getMessageTypes()) {
      DEFAULTS.computeIfAbsent(type.getFullName(), name -> instance(type));
    }
    file.getDependencies().forEach(Types::add);
  }

  /** The generated class, which is the only one here with a static method of this name. */
  private static Message instance(Descriptor type) {
    String name = type.getFile().getOptions().getJavaPackage() + "." + type.getName();
    try {
      return (Message) Class.forName(name).getMethod("getDefaultInstance").invoke(null);
    } catch (ReflectiveOperationException error) {
      throw new IllegalStateException(error);
    }
  }
}
