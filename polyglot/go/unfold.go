package chatpb

import (
	"bytes"
	"strconv"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// Unfold splits a completion into the chunks of a stream, as api.openai.com would send it.
//
// Each choice gives a first chunk with the role, then its text (a chunk for each token if log
// probabilities tell the tokens), its tool calls, and a last chunk with the finish reason. The usage
// comes in a chunk of its own. If the pieces cannot express a message, for example a tool call with
// an index of its own, the last chunk of the choice also has the message whole, as some servers send
// it. If even that does not make the completion, for example because two choices share an index, a
// last chunk has the JSON text of the whole completion in a member that only Fold reads.
//
// The law: Fold(Unfold(c)) equals c, for every c in the normal form that FromJSON gives.
//
// The error is a *ConversionError if the completion cannot be written as JSON (see ToJSON). Of the
// options, IgnoreUnknownFields has an effect.
func Unfold(
	completion *chatpbv1.ChatCompletion, opts ...Option,
) ([]*chatpbv1.ChatCompletionChunk, error) {
	o := optionsOf(opts)
	o.allowNaN = true
	root, err := treeOf(completion, o)
	if err != nil {
		return nil, err
	}
	normal := &chatpbv1.ChatCompletion{}
	if err := fromTree(root, normal); err != nil {
		return nil, err
	}
	expected, err := Marshal(normal)
	if err != nil {
		return nil, err
	}
	rules := streamRules()
	every := membersOfEvery(root, normal.GetResidue().GetExtraJson())
	for _, whole := range []bool{false, true} {
		chunks, err := chunksOf(split(root, every, whole))
		if err != nil {
			return nil, err
		}
		folded, err := Fold(chunks)
		if err != nil {
			return nil, err
		}
		if found, err := Marshal(folded); err != nil {
			return nil, err
		} else if bytes.Equal(expected, found) {
			return chunks, nil
		}
	}
	last := every.with()
	for _, f := range rules.chunk.fields {
		if f.fold == chatpbv1.Fold_FOLD_BY_KEY {
			last.set(string(f.desc.Name()), []any{})
		}
	}
	last.set(rules.chunk.foldWhole, string(appendTree(nil, root)))
	return chunksOf(append(split(root, every, false), last))
}

func chunksOf(parts []*tree) ([]*chatpbv1.ChatCompletionChunk, error) {
	chunks := make([]*chatpbv1.ChatCompletionChunk, len(parts))
	for i, part := range parts {
		chunks[i] = &chatpbv1.ChatCompletionChunk{}
		if err := fromTree(part, chunks[i]); err != nil {
			return nil, err
		}
	}
	return chunks, nil
}

// membersOfEvery gives the members that every chunk has: scalars that the schema knows, unless they
// are outside of it.
func membersOfEvery(root *tree, extra string) *tree {
	var outside *tree
	if extra != "" {
		held, _ := parseTree([]byte(extra))
		outside, _ = held.(*tree)
	}
	every := &tree{}
	rules := streamRules()
	for _, f := range rules.chunk.fields {
		name := string(f.desc.Name())
		value, exists := root.get(name)
		if _, isOutside := outside.get(name); !exists || isOutside {
			continue
		}
		switch value.(type) {
		case *tree, []any:
			continue
		}
		if f.fold == chatpbv1.Fold_FOLD_KIND && value == any(rules.completion.byName[name].unset.string) {
			value = f.unset.string
		}
		every.set(name, value)
	}
	return every
}

// split gives the pieces of a completion. Members that are not in every piece come in the last one.
func split(root, every *tree, whole bool) []*tree {
	var parts []*tree
	every = every.with()
	once := root.without(func(name string) bool { return every.find(name) >= 0 })
	for _, f := range streamRules().chunk.fields {
		name := string(f.desc.Name())
		choices, ok := objectsOf(once, name)
		if f.fold != chatpbv1.Fold_FOLD_BY_KEY || !ok {
			continue
		}
		once = once.without(func(other string) bool { return other == name })
		for _, choice := range choices {
			for _, part := range splitChoice(choice, f.message(), whole) {
				piece := every.with()
				piece.set(name, []any{part})
				parts = append(parts, piece)
			}
		}
		every.set(name, []any{})
		if len(once.members) == 0 {
			return parts
		}
	}
	return append(parts, every.with(once))
}

// without gives a copy without some members.
func (t *tree) without(is func(name string) bool) *tree {
	left := &tree{}
	for _, m := range t.members {
		if !is(m.name) {
			left.set(m.name, m.value)
		}
	}
	return left
}

// objectsOf gives the objects in a member, if it is an array of objects that is not empty.
func objectsOf(t *tree, name string) ([]*tree, bool) {
	held, _ := t.get(name)
	values, _ := held.([]any)
	objects := make([]*tree, 0, len(values))
	for _, value := range values {
		object, ok := value.(*tree)
		if !ok {
			return nil, false
		}
		objects = append(objects, object)
	}
	return objects, len(objects) > 0
}

// objectWith makes a tree of one member.
func objectWith(name string, value any) *tree {
	return &tree{members: []treeMember{{name, value}}}
}

// splitChoice gives the pieces of one choice, the last one with the message whole as well if asked.
func splitChoice(choice *tree, mapped *mapping, whole bool) []*tree {
	var delta *field
	for _, f := range mapped.fields {
		if f.foldInto != string(f.desc.Name()) {
			delta = f
			break
		}
	}
	if delta == nil || delta.message() == nil {
		return []*tree{choice}
	}
	held, _ := choice.get(delta.foldInto)
	message, ok := held.(*tree)
	if !ok {
		return []*tree{choice}
	}
	name := string(delta.desc.Name())
	last := choice.without(func(other string) bool { return other == delta.foldInto && !whole })
	every := &tree{}
	for _, f := range mapped.fields {
		value, exists := last.get(string(f.desc.Name()))
		switch {
		case !exists || f == delta:
		case f.isKey:
			every.set(string(f.desc.Name()), value)
		case f.unset != nil && f.unset.kind == null && !f.unset.isZero:
			every.set(string(f.desc.Name()), nil)
		}
	}
	piece := func(members ...treeMember) *tree { return every.with(&tree{members: members}) }
	first, texts, lists := partsOf(message, delta.message())
	parts := []*tree{piece(treeMember{name, first})}
	for _, m := range texts {
		tokens := tokensOf(m.name, m.value.(string), last, mapped)
		if tokens == nil {
			parts = append(parts, piece(treeMember{name, objectWith(m.name, m.value)}))
			continue
		}
		for i, element := range tokens.elements {
			held := tokens.others.with(objectWith(m.name, []any{element}))
			token := objectWith(m.name, tokens.texts[i])
			parts = append(parts, piece(treeMember{name, token}, treeMember{tokens.holder, held}))
		}
		holder, _ := last.get(tokens.holder)
		last.set(tokens.holder, holder.(*tree).with(objectWith(m.name, []any{})))
	}
	for _, m := range lists {
		parts = append(parts, piece(treeMember{name, objectWith(m.name, []any{m.value})}))
	}
	return append(parts, last.with(objectWith(name, &tree{})))
}

// partsOf gives what of a message comes at once, what comes as text, and what comes one by one.
func partsOf(message *tree, mapped *mapping) (first *tree, texts, lists []treeMember) {
	first = &tree{}
	for _, m := range message.members {
		f := mapped.byName[m.name]
		if f != nil {
			text, isText := m.value.(string)
			values, isList := m.value.([]any)
			if f.fold == chatpbv1.Fold_FOLD_APPEND && isText && text != "" {
				texts = append(texts, m)
				continue
			}
			if f.fold == chatpbv1.Fold_FOLD_BY_KEY && isList && len(values) > 0 {
				key, hasKey := f.message().marked(func(f *field) bool { return f.isKey })
				for i, value := range values {
					if object, ok := value.(*tree); ok && hasKey {
						value = objectWith(key, number(strconv.Itoa(i))).with(object)
					}
					lists = append(lists, treeMember{m.name, value})
				}
				continue
			}
		}
		first.set(m.name, m.value)
	}
	return first, texts, lists
}

// tokens are those of a text, where the choice has a list of them under the same name.
type tokens struct {
	holder   string // the member that holds the list
	elements []any
	texts    []string
	others   *tree // the members next to the list, which every piece repeats
}

// tokensOf gives the tokens of a text; nil if there is no list, or if it does not spell the text.
func tokensOf(name, text string, choice *tree, mapped *mapping) *tokens {
	for _, f := range mapped.fields {
		value, _ := choice.get(string(f.desc.Name()))
		held, ok := value.(*tree)
		if !ok || f.message() == nil {
			continue
		}
		spelled := f.message().byName[name].message()
		value, _ = held.get(name)
		list, ok := value.([]any)
		if spelled == nil || len(spelled.derived) == 0 || !ok {
			continue
		}
		token := string(spelled.derived[0].utf8Of.Name())
		found := &tokens{holder: string(f.desc.Name()), elements: list}
		var joined joinedText
		for _, each := range list {
			object, _ := each.(*tree)
			value, _ := object.get(token)
			piece, ok := value.(string)
			if !ok {
				break
			}
			found.texts = append(found.texts, piece)
			joined.add(piece)
		}
		if len(found.texts) == len(list) && string(joined) == text {
			found.others = held.without(func(other string) bool {
				value, _ := held.get(other)
				return other == name || value != nil
			})
			return found
		}
	}
	return nil
}
