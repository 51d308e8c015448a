package chatpb

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// foldRules is how the values of a field are folded.
type foldRules struct {
	fold       chatpbv1.Fold
	foldInto   string // the member of the completion
	isKey      bool
	isIdentity bool
	// The part that a string becomes among parts, and its member that takes the string; or nil.
	part     *tree
	partText string
}

func foldRulesOf(fd protoreflect.FieldDescriptor) (foldRules, error) {
	options := fd.Options()
	rules := foldRules{
		fold:       proto.GetExtension(options, chatpbv1.E_Fold).(chatpbv1.Fold),
		foldInto:   proto.GetExtension(options, chatpbv1.E_FoldInto).(string),
		isKey:      proto.GetExtension(options, chatpbv1.E_FoldKey).(bool),
		isIdentity: proto.GetExtension(options, chatpbv1.E_FoldIdentity).(bool),
	}
	if rules.foldInto == "" {
		rules.foldInto = string(fd.Name())
	}
	text := proto.GetExtension(options, chatpbv1.E_FoldPart).(string)
	if text == "" {
		return rules, nil
	}
	part, err := parseTree([]byte(text))
	if err != nil {
		return rules, err
	}
	rules.part, _ = part.(*tree)
	if rules.part != nil {
		for _, m := range rules.part.members {
			if m.value == any("") {
				rules.partText = m.name
				return rules, nil
			}
		}
	}
	return rules, fmt.Errorf("fold_part is not an object with an empty string: %s", text)
}

// unknownRules is how the members of a message that the schema does not know are folded.
type unknownRules struct {
	rule    chatpbv1.Fold // for all of them, except within the objects of an array
	key     string        // the member whose integer identifies an object of an array, or ""
	kind    string        // the member that tells the kind of such an object, or ""
	pieces  map[string]bool
	inArray *unknownRules // for the members of such objects; nil of these rules themselves
}

func unknownRulesOf(desc protoreflect.MessageDescriptor) unknownRules {
	options := desc.Options()
	rules := unknownRules{
		rule:   proto.GetExtension(options, chatpbv1.E_FoldUnknown).(chatpbv1.Fold),
		key:    proto.GetExtension(options, chatpbv1.E_FoldUnknownKey).(string),
		kind:   proto.GetExtension(options, chatpbv1.E_FoldUnknownKind).(string),
		pieces: map[string]bool{},
	}
	for _, name := range proto.GetExtension(options, chatpbv1.E_FoldUnknownPieces).([]string) {
		rules.pieces[name] = true
	}
	within := rules
	rules.inArray = &within
	return rules
}

// joinsObjects reports whether objects of an array may be joined with earlier ones.
func (r *unknownRules) joinsObjects() bool { return r.key != "" || r.kind != "" }

// of gives the rule for a member.
func (r *unknownRules) of(name string) chatpbv1.Fold {
	switch {
	case r.inArray != nil:
		return r.rule
	case r.pieces[name]:
		return chatpbv1.Fold_FOLD_APPEND
	}
	return chatpbv1.Fold_FOLD_APPEND_ARRAYS
}

// withinArray gives the rules for the objects of an array.
func (r *unknownRules) withinArray() *unknownRules {
	if r.inArray != nil {
		return r.inArray
	}
	return r
}

// message gives the type of the messages in a field; nil if it has scalars or is a map.
func (f *field) message() *mapping {
	if f == nil || f.shape == dictionary {
		return nil
	}
	return f.value.message
}

// marked gives the name of the first field of which something is so, and whether there is one.
func (mapped *mapping) marked(is func(*field) bool) (string, bool) {
	for _, f := range mapped.fields {
		if is(f) {
			return string(f.desc.Name()), true
		}
	}
	return "", false
}

// streamMappings are the mappings of chunks and completions.
type streamMappings struct{ chunk, completion *mapping }

var streamRules = sync.OnceValue(func() streamMappings {
	of := func(m proto.Message) *mapping {
		mapped, err := mappingOf(m.ProtoReflect().Descriptor())
		if err != nil {
			panic(err) // not for any input: the descriptors are part of the module
		}
		return mapped
	}
	return streamMappings{of(&chatpbv1.ChatCompletionChunk{}), of(&chatpbv1.ChatCompletion{})}
})
