package chatpb

import (
	"bytes"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// detailName is FastAPI's member for an error: a text, or a list of places with texts. OpenAI does not
// have it.
const detailName = "detail"

// errorNames are the members that distinguish errors from answers.
type errorNames struct {
	error, message, choices string
	answers                 map[string]bool // whether a member makes something an answer
}

var namesOfErrors = sync.OnceValue(func() errorNames {
	name := func(m proto.Message, number protoreflect.FieldNumber) string {
		return string(m.ProtoReflect().Descriptor().Fields().ByNumber(number).Name())
	}
	names := errorNames{
		error:   name(&chatpbv1.ErrorResponse{}, 1),
		message: name(&chatpbv1.Error{}, 1),
		choices: name(&chatpbv1.ChatCompletionChunk{}, 5),
		answers: map[string]bool{},
	}
	rules := streamRules()
	for _, mapped := range []*mapping{rules.chunk, rules.completion} {
		for member := range mapped.byName {
			names.answers[member] = true
		}
	}
	// What errors have too: the kind of an object, and who asked.
	names.answers[name(&chatpbv1.ChatCompletionChunk{}, 2)] = false
	names.answers[name(&chatpbv1.ChatCompletion{}, 100)] = false
	return names
})

// A foundError is an error that was found in a JSON text.
type foundError struct {
	text       []byte // the JSON of an object that is the error
	isAlone    bool   // the text holds nothing but the error: it is not a chunk as well
	isOfChoice bool   // it is the error of a choice: others may have none
}

// findError finds the error in what a server sent as a chunk or as an error; nil if there is none. The
// error is a member of its own: alone, next to members that are null, in a chunk, or in a choice. Or
// the members of the error are at the top, or it is in a list.
func findError(data []byte) (*foundError, error) {
	names := namesOfErrors()
	if !names.mayBeIn(data) {
		return nil, nil
	}
	value, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	switch value := value.(type) {
	case *tree:
		return names.inObject(value, data), nil
	case []any:
		if len(value) == 0 {
			break
		}
		if members, ok := value[0].(*tree); ok {
			if found := names.inObject(members, nil); found != nil && found.isAlone {
				return &foundError{text: appendTree(nil, members), isAlone: true}, nil
			}
		}
	}
	return nil, nil
}

// mayBeIn reports whether a text has to be read, to know whether it is an error.
func (names *errorNames) mayBeIn(data []byte) bool {
	has := func(name string) bool { return bytes.Contains(data, []byte(`"`+name+`"`)) }
	return has(names.error) || (has(names.message) || has(detailName)) && !has(names.choices)
}

// inObject finds the error in an object, which was read from a text.
func (names *errorNames) inObject(members *tree, data []byte) *foundError {
	member, exists := members.get(names.error)
	choices, _ := members.get(names.choices)
	if isTrue(member) {
		if choices == nil {
			return &foundError{text: data, isAlone: true}
		}
		return &foundError{text: appendTree(nil, objectWith(names.error, member))}
	}
	list, _ := choices.([]any)
	for _, each := range list {
		choice, _ := each.(*tree)
		if member, _ := choice.get(names.error); isTrue(member) {
			return &foundError{text: appendTree(nil, objectWith(names.error, member)), isOfChoice: true}
		}
	}
	if exists && !names.hasAnswer(members, true) || !exists && names.isFlat(members) {
		return &foundError{text: data, isAlone: true}
	}
	return nil
}

// hasAnswer reports whether an object has members of an answer: any at all if evenNull, or else any that is
// not null and that errors do not have, too.
func (names *errorNames) hasAnswer(members *tree, evenNull bool) bool {
	for _, m := range members.members {
		isAnswer, isKnown := names.answers[m.name]
		if evenNull && isKnown || isAnswer && m.value != nil {
			return true
		}
	}
	return false
}

// isFlat reports whether an object is an error whose members are at the top.
func (names *errorNames) isFlat(members *tree) bool {
	message, _ := members.get(names.message)
	detail, _ := members.get(detailName)
	return (message != nil || detail != nil) && !names.hasAnswer(members, false)
}
