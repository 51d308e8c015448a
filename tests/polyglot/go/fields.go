package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkFields checks the assertions of a file NAME.fields.json, each a path, a kind and a value.
func checkFields(m protoreflect.Message, rows []byte) error {
	var assertions [][3]any
	if err := json.Unmarshal(rows, &assertions); err != nil {
		return err
	}
	for _, each := range assertions {
		if err := checkField(m, each[0].([]any), each[1].(string), each[2]); err != nil {
			return fmt.Errorf("%v: %w", each[0], err)
		}
	}
	return nil
}

func checkField(m protoreflect.Message, path []any, kind string, expected any) error {
	if kind == "set" || kind == "unset" {
		return checkPresence(m, path, expected.([]any), kind == "set")
	}
	found, err := find(m, path)
	if err != nil {
		return err
	}
	if held := describe(kind, found); !reflect.DeepEqual(expected, held) {
		return fmt.Errorf("expected %v, got %v", expected, held)
	}
	return nil
}

func checkPresence(m protoreflect.Message, path, names []any, wanted bool) error {
	found, err := find(m, path)
	if err != nil {
		return err
	}
	for _, name := range names {
		field, err := fieldOf(found.Message(), name.(string))
		if err != nil {
			return err
		}
		if found.Message().Has(field) != wanted {
			return fmt.Errorf("%s: expected that it is set: %t", name, wanted)
		}
	}
	return nil
}

// find goes from a message along names of fields, numbers of elements and keys of maps.
func find(m protoreflect.Message, path []any) (protoreflect.Value, error) {
	value := protoreflect.ValueOfMessage(m)
	for _, step := range path {
		switch held := value.Interface().(type) {
		case protoreflect.Message:
			field, err := fieldOf(held, step.(string))
			if err != nil {
				return value, err
			}
			value = held.Get(field)
		case protoreflect.List:
			index := int(step.(float64))
			if index >= held.Len() {
				return value, fmt.Errorf("there are only %d elements", held.Len())
			}
			value = held.Get(index)
		case protoreflect.Map:
			key := protoreflect.ValueOfString(step.(string)).MapKey()
			if !held.Has(key) {
				return value, fmt.Errorf("no key %q", key)
			}
			value = held.Get(key)
		default:
			return value, fmt.Errorf("%v is in nothing", step)
		}
	}
	return value, nil
}

func fieldOf(m protoreflect.Message, name string) (protoreflect.FieldDescriptor, error) {
	if field := m.Descriptor().Fields().ByName(protoreflect.Name(name)); field != nil {
		return field, nil
	}
	return nil, fmt.Errorf("%s has no field %s", m.Descriptor().FullName(), name)
}

// describe gives a value as the assertions write it; nil if it is of another kind.
func describe(kind string, value protoreflect.Value) any {
	switch held := value.Interface().(type) {
	case string:
		if kind == "string" {
			return held
		}
	case []byte:
		if kind == "bytes" {
			return base64.StdEncoding.EncodeToString(held)
		}
	case bool:
		if kind == "bool" {
			return held
		}
	case float64:
		if kind == "double" {
			return fmt.Sprintf("%016x", math.Float64bits(held))
		}
	case int32, int64:
		if kind == "int" {
			return strconv.FormatInt(value.Int(), 10)
		}
	case uint32:
		if kind == "int" {
			return strconv.FormatUint(value.Uint(), 10)
		}
	case protoreflect.EnumNumber:
		if kind == "enum" {
			return float64(held)
		}
	case protoreflect.List:
		if kind == "size" {
			return float64(held.Len())
		}
	case protoreflect.Map:
		if kind == "size" {
			return float64(held.Len())
		}
	}
	return nil
}
