#!/bin/sh
# Checks that protoc, buf and protobuf-maven-plugin make stubs of the same names.
# Arguments: the stubs that Maven made, those that buf made, and the command of protoc.
set -eu
maven=$1 buf=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/protoc"
"$@" --proto_path=proto --java_out="$folder/protoc" proto/chatpb/v1/*.proto
names() { (cd "$1" && find com/chatpb -name '*.java' ! -name '*Grpc.java' | sort); }
names "$maven" >"$folder/maven.txt"
names "$buf" >"$folder/buf.txt"
names "$folder/protoc" >"$folder/protoc.txt"
grep -qx com/chatpb/v1/ChatCompletion.java "$folder/maven.txt"
diff "$folder/maven.txt" "$folder/buf.txt"
diff "$folder/maven.txt" "$folder/protoc.txt"
test -f "$maven/com/chatpb/v1/ChatCompletionServiceGrpc.java"
test -f "$buf/com/chatpb/v1/ChatCompletionServiceGrpc.java"
