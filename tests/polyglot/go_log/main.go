// Command go_log reads what `zstd -dc LOG` prints, with the delimited reader and the dynamic
// messages of Go's protobuf, and prints a line for each message.
//
// Its argument is the descriptor set that every chatpb package has.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const typeName = "chatpb.v1.CompletionRecord"

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: zstd -dc LOG | go_log DESCRIPTOR_SET")
	}
	if err := run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(descriptorSet string, in io.Reader, out io.Writer) error {
	record, err := recordType(descriptorSet)
	if err != nil {
		return err
	}
	header := record.Fields().ByName("log_header")
	reader, writer := bufio.NewReader(in), bufio.NewWriter(out)
	defer writer.Flush()
	options := protodelim.UnmarshalOptions{MaxSize: 256 << 20}
	for {
		message := dynamicpb.NewMessage(record)
		if err := options.UnmarshalFrom(reader, message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if message.Has(header) {
			of := message.Get(header).Message()
			fmt.Fprintln(writer, "header", text(of, "message_type"), text(of, "file_id"))
			continue
		}
		labels := message.Get(record.Fields().ByName("labels")).Map()
		noise := labels.Get(protoreflect.ValueOfString("noise").MapKey())
		fmt.Fprintln(writer, "record", text(message, "call_id"), noise.String())
	}
}

func recordType(descriptorSet string) (protoreflect.MessageDescriptor, error) {
	data, err := os.ReadFile(descriptorSet)
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, err
	}
	found, err := files.FindDescriptorByName(typeName)
	if err != nil {
		return nil, err
	}
	return found.(protoreflect.MessageDescriptor), nil
}

func text(message protoreflect.Message, name protoreflect.Name) string {
	return message.Get(message.Descriptor().Fields().ByName(name)).String()
}
