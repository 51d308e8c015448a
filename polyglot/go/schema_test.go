package chatpb_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// A spec is a field of a message that a test builds.
type spec struct {
	kind          descriptorpb.FieldDescriptorProto_Type
	label         string // optional, implicit or repeated
	encoding      chatpbv1.JsonEncoding
	alternativeTo string
	unset         string
}

const (
	stringType = descriptorpb.FieldDescriptorProto_TYPE_STRING
	int32Type  = descriptorpb.FieldDescriptorProto_TYPE_INT32
	raw        = chatpbv1.JsonEncoding_JSON_ENCODING_RAW
)

// build makes a message with the fields f0, f1 and so on, and a residue if it is not a union.
func build(t *testing.T, isUnion bool, specs ...spec) proto.Message {
	t.Helper()
	message := &descriptorpb.DescriptorProto{Name: proto.String("Root"), Options: &descriptorpb.MessageOptions{}}
	for i, each := range specs {
		options := &descriptorpb.FieldOptions{}
		proto.SetExtension(options, chatpbv1.E_JsonEncoding, each.encoding)
		if each.alternativeTo != "" {
			proto.SetExtension(options, chatpbv1.E_JsonAlternativeTo, each.alternativeTo)
		}
		if each.unset != "" {
			proto.SetExtension(options, chatpbv1.E_JsonUnset, each.unset)
		}
		field := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(fmt.Sprintf("f%d", i)), Number: proto.Int32(int32(i + 1)), Type: each.kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Options: options,
		}
		switch each.label {
		case "optional":
			field.Proto3Optional, field.OneofIndex = proto.Bool(true), proto.Int32(int32(len(message.OneofDecl)))
			message.OneofDecl = append(message.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String(fmt.Sprintf("_f%d", i))})
		case "repeated":
			field.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}
		message.Field = append(message.Field, field)
	}
	if isUnion {
		proto.SetExtension(message.Options, chatpbv1.E_JsonUnion, true)
	} else {
		message.Field = append(message.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String("residue"), Number: proto.Int32(15), TypeName: proto.String(".chatpb.v1.Residue"),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(),
		})
	}
	options := chatpbv1.File_chatpb_v1_options_proto.Path()
	residue := chatpbv1.File_chatpb_v1_residue_proto.Path()
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("test.proto"), Package: proto.String("chatpb.test"), Syntax: proto.String("proto3"),
		Dependency: []string{options, residue}, MessageType: []*descriptorpb.DescriptorProto{message},
	}
	built := must[protoreflect.FileDescriptor](t)(protodesc.NewFile(file, protoregistry.GlobalFiles))
	return dynamicpb.NewMessage(built.Messages().Get(0))
}

func TestSharedMembers(t *testing.T) {
	specs := []spec{
		{stringType, "optional", raw, "f1", ""}, {stringType, "implicit", 0, "", `"one"`},
		{int32Type, "repeated", 0, "", ""}, {stringType, "optional", raw, "f2", ""},
	}
	for text, expected := range map[string][]protoreflect.Name{
		`{"f1":"a","f2":[1]}`:                      {"f1", "f2"},
		`{"f1":[{"a":1.50}],"f2":["a"]}`:           {"f0", "f3"},
		`{"f1":[],"f2":{}}`:                        {"f0", "f3"},
		`{"f1":{},"f2":[]}`:                        {"f0"},
		`{"f1":1,"f2":"a"}`:                        {},
		`{"f1":"one","f2":null,"f0":[1],"f3":[1]}`: {},
	} {
		m := build(t, false, specs...)
		read(t, text, m)
		if written := write(t, m); written != text {
			t.Errorf("%s became %s", text, written)
		}
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range len(specs) {
			found, wanted := m.ProtoReflect().Has(fields.Get(i)), false
			for _, name := range expected {
				wanted = wanted || name == fields.Get(i).Name()
			}
			if found != wanted {
				t.Errorf("%s: %s is set: %v", text, fields.Get(i).Name(), found)
			}
		}
	}
}

func TestSharedMembersThatTheMappingDoesNotAllow(t *testing.T) {
	other, shared := spec{stringType, "optional", 0, "", ""}, spec{stringType, "optional", raw, "f1", ""}
	for name, specs := range map[string][]spec{
		"text":              {{stringType, "optional", 0, "f1", ""}, other},
		"a number":          {{int32Type, "optional", 0, "f1", ""}, other},
		"a list":            {{stringType, "repeated", raw, "f1", ""}, other},
		"without presence":  {{stringType, "implicit", raw, "f1", ""}, other},
		"stands for null":   {{stringType, "optional", raw, "f1", "null"}, other},
		"no field":          {shared},
		"itself":            {other, shared},
		"the residue":       {{stringType, "optional", raw, "residue", ""}},
		"two":               {shared, other, shared},
		"of an alternative": {other, {stringType, "optional", raw, "f0", ""}, shared},
	} {
		err := chatpb.FromJSON([]byte("{}"), build(t, false, specs...))
		if err == nil || !strings.Contains(err.Error(), "cannot share the member of") {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := chatpb.FromJSON([]byte("{}"), build(t, true, shared, other))
	if err == nil || !strings.Contains(err.Error(), "cannot share the member of") {
		t.Errorf("a union: %v", err)
	}
}
