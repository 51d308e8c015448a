package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"

	chatpb "github.com/chatpb/chatpb-go"
	"github.com/chatpb/chatpb-go/internal/jsonvalue"
	"github.com/chatpb/chatpb-go/internal/vectors"
)

func checkVectors(folder string, r *report) error {
	all, err := vectors.Load(folder)
	if err != nil {
		return err
	}
	for _, vector := range all {
		checkValid(vector, "binpb", r)
		r.run("textformat", vector.Name, func() error { return checkText(vector) })
		r.run("json", vector.Name, func() error { return checkJSON(vector) })
	}
	all, err = vectors.Load(filepath.Join(folder, "binary"))
	if err != nil {
		return err
	}
	for _, vector := range all {
		if !vector.Invalid {
			checkValid(vector, "canonical.binpb", r)
			continue
		}
		r.run("reject", vector.Name, func() error {
			if m, _, err := vector.Read("binpb"); m == nil {
				return err
			} else if err == nil {
				return errors.New("it was parsed")
			}
			return nil
		})
	}
	return nil
}

func checkValid(vector vectors.Vector, canonical string, r *report) {
	r.run("parse", vector.Name, func() error {
		m, _, err := vector.Read("binpb")
		if err != nil {
			return err
		}
		rows, err := vector.File("fields.json")
		if err != nil {
			return err
		}
		return checkFields(m.ProtoReflect(), rows)
	})
	r.run("serialize", vector.Name, func() error {
		m, _, err := vector.Read("binpb")
		if err != nil {
			return err
		}
		expected, err := vector.File(canonical)
		if err != nil {
			return err
		}
		return checkBytes(m, expected)
	})
	r.run("json_view", vector.Name, func() error { return checkJSONView(vector) })
}

func checkBytes(m proto.Message, expected []byte) error {
	written, err := chatpb.Marshal(m)
	if err == nil && !bytes.Equal(expected, written) {
		err = fmt.Errorf("expected the bytes %x, got %x", expected, written)
	}
	return err
}

func checkText(vector vectors.Vector) error {
	m, _, err := vector.Read("binpb")
	if err != nil {
		return err
	}
	text, err := vector.File("txtpb")
	if err != nil {
		return err
	}
	read := m.ProtoReflect().New().Interface()
	if err := prototext.Unmarshal(text, read); err != nil {
		return err
	}
	return checkEqual(m, read)
}

// checkJSONView checks Go's own JSON, which says nothing of unknown fields.
func checkJSONView(vector vectors.Vector) error {
	m, _, err := vector.Read("binpb")
	if err != nil {
		return err
	}
	if err := dropUnknown(m); err != nil {
		return err
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	read := m.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal(text, read); err != nil {
		return err
	}
	return checkEqual(m, read)
}

func dropUnknown(m proto.Message) error {
	return protorange.Range(m.ProtoReflect(), func(values protopath.Values) error {
		if part, ok := values.Index(-1).Value.Interface().(protoreflect.Message); ok {
			part.SetUnknown(nil)
		}
		return nil
	})
}

func checkEqual(expected, found proto.Message) error {
	if !proto.Equal(expected, found) {
		return fmt.Errorf("expected %v, got %v", expected, found)
	}
	return nil
}

// aToken is a string, kept as it is, or a sign of JSON's, round which white space may stand.
var aToken = regexp.MustCompile(`("(?:[^"\\]|\\.)*")|([\[\]{},:])`)

func checkJSON(vector vectors.Vector) error {
	m, expected, err := vector.Read("binpb")
	if err != nil {
		return err
	}
	text, err := vector.File("json")
	if err != nil {
		return err
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	spaced := aToken.ReplaceAll(text, []byte(" \r\n$1$2\t "))
	for _, each := range [][]byte{text, append([]byte("\xef\xbb\xbf"), text...), spaced} {
		read := m.ProtoReflect().New().Interface()
		if err := chatpb.FromJSON(each, read); err != nil {
			return err
		}
		if err := checkBytes(read, expected); err != nil {
			return err
		}
	}
	written, err := chatpb.ToJSON(m)
	if err != nil {
		return err
	}
	if found := jsonvalue.Difference(text, written); found != "" {
		return errors.New(found)
	}
	return checkSpelling(m, written)
}

// checkSpelling checks that the JSON has the members of every extra_json as they are spelled there.
func checkSpelling(m proto.Message, written []byte) error {
	return protorange.Range(m.ProtoReflect(), func(values protopath.Values) error {
		step := values.Index(-1)
		if step.Step.Kind() != protopath.FieldAccessStep || step.Step.FieldDescriptor().Name() != "extra_json" {
			return nil
		}
		extra := step.Value.String()
		if members := extra[1 : len(extra)-1]; !strings.Contains(string(written), members) {
			return fmt.Errorf("%s is spelled otherwise in %s", members, written)
		}
		return nil
	})
}

func checkInvalidJSON(folder string, r *report) error {
	all, err := vectors.Load(filepath.Join(folder, "invalid"))
	if err != nil {
		return err
	}
	for _, vector := range all {
		r.run("json", "invalid/"+vector.Name, func() error {
			err := convert(vector)
			var fault *chatpb.ConversionError
			if !errors.As(err, &fault) {
				return fmt.Errorf("expected a ConversionError, got %v", err)
			}
			offset := chatpb.NoOffset
			if vector.Offset != nil {
				offset = *vector.Offset
			}
			if vector.Path != fault.Path || offset != fault.Offset || !vector.HasReason(fault.Reason) {
				return fmt.Errorf("expected %s (byte %d): %s, got %w", vector.Path, offset, vector.Reason, err)
			}
			return nil
		})
	}
	return nil
}

// convert reads JSON, or writes it.
func convert(vector vectors.Vector) error {
	m, err := vector.New()
	if err != nil {
		return err
	}
	if vector.Form == "json" {
		text, err := vector.File("json")
		if err != nil {
			return err
		}
		return chatpb.FromJSON(text, m)
	}
	data, err := vector.File("binpb")
	if err != nil {
		return err
	}
	if err := chatpb.Unmarshal(data, m); err != nil {
		return err
	}
	_, err = chatpb.ToJSON(m)
	return err
}

func checkStreams(folder string, r *report) error {
	all, err := vectors.Load(filepath.Join(folder, "stream"))
	if err != nil {
		return err
	}
	for _, vector := range all {
		r.run(vector.Kind, vector.Name, vector.CheckStream)
	}
	return nil
}
