package chatpb

import (
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// Fold assembles the chunks of one stream into the completion that they make.
//
// Content, refusal, reasoning, arguments, audio and log probabilities are appended. Choices are told
// apart by their index, tool calls by their index or, without one, by their id. The first id,
// creation time and model that are not empty win. A later chunk where a member is null or missing
// does not erase it. The completion has the members that the chunks had, including those that the
// schema does not know.
//
// The law: Fold(Unfold(c)) equals c.
//
// The error is a *ConversionError if there is no chunk, or if a chunk cannot be written as JSON (see
// ToJSON). Of the options, IgnoreUnknownFields has an effect.
func Fold(chunks []*chatpbv1.ChatCompletionChunk, opts ...Option) (*chatpbv1.ChatCompletion, error) {
	folder := NewFolder(opts...)
	for _, chunk := range chunks {
		if err := folder.Add(chunk); err != nil {
			return nil, err
		}
	}
	return folder.Completion()
}

// A Folder does what Fold does, one chunk after the other. Its memory is that of the completion.
type Folder struct {
	options options
	folded  tree
	whole   *tree
	count   int
}

// NewFolder gives a Folder for the chunks of one stream.
func NewFolder(opts ...Option) *Folder {
	o := optionsOf(opts)
	o.allowNaN = true
	return &Folder{options: o}
}

// Add takes the next chunk, and keeps nothing of it. If it gives an error, which is that of ToJSON,
// the chunk is left out.
func (f *Folder) Add(chunk *chatpbv1.ChatCompletionChunk) error {
	members, err := treeOf(chunk, f.options)
	if err != nil {
		return err
	}
	rules := streamRules()
	if stated, ok := members.get(rules.chunk.foldWhole); ok {
		if whole := wholeCompletion(stated); whole != nil {
			f.whole = whole
		}
	}
	joinMembers(&f.folded, members, rules.chunk, nil)
	f.count++
	return nil
}

// Completion gives what the chunks so far make. More chunks may be added after it.
func (f *Folder) Completion() (*chatpbv1.ChatCompletion, error) {
	if f.count == 0 {
		return nil, refuse("expected at least one chunk, got none")
	}
	folded := f.whole
	if folded == nil {
		folded = finish(&f.folded).(*tree)
	}
	completion := &chatpbv1.ChatCompletion{}
	if err := fromTree(folded, completion); err != nil {
		return nil, err
	}
	return completion, nil
}

// wholeCompletion gives the completion that a chunk holds as JSON text, as Unfold writes it.
func wholeCompletion(stated any) *tree {
	text, ok := stated.(string)
	if !ok {
		return nil
	}
	whole, err := parseTree(appendEscapedSurrogates(nil, text))
	if err != nil {
		return nil
	}
	members, _ := whole.(*tree)
	return members
}

// joinMembers joins the members of an object into joined, by the rules of its type. Without a type,
// they are unknown to the schema, and the rules are given.
func joinMembers(joined, members *tree, mapped *mapping, unknown *unknownRules) {
	if unknown == nil {
		unknown = &mapped.unknown
	}
	for _, m := range members.members {
		var f *field
		if mapped != nil {
			f = mapped.byName[m.name]
		}
		if f == nil {
			old, exists := joined.get(m.name)
			joined.set(m.name, join(old, exists, m.value, unknown.of(m.name), nil, unknown))
			continue
		}
		rule, value := f.fold, m.value
		switch rule {
		case chatpbv1.Fold_FOLD_DROP:
			continue
		case chatpbv1.Fold_FOLD_WHOLE:
			joinWhole(joined, m.name, value)
			continue
		case chatpbv1.Fold_FOLD_KIND:
			rule = chatpbv1.Fold_FOLD_UNSPECIFIED
			if value == any(f.unset.string) {
				value = streamRules().completion.byName[m.name].unset.string
			}
		}
		old, exists := joined.get(f.foldInto)
		joined.set(f.foldInto, join(old, exists, value, rule, f, unknown))
	}
}

// join joins two values of a member; finish makes a JSON value of the result. The earlier one is as
// join gave it; the field is nil if the schema does not know the member.
func join(old any, exists bool, value any, rule chatpbv1.Fold, f *field, unknown *unknownRules) any {
	object, isObject := value.(*tree)
	list, isList := value.([]any)
	text, isText := value.(string)
	appends := rule == chatpbv1.Fold_FOLD_APPEND
	if rule == chatpbv1.Fold_FOLD_BY_KEY && (isObject || isList) && f.message() != nil {
		elements, ok := old.(*keyedElements)
		if !ok {
			elements = newKeyedElements(f.message())
		}
		if isObject {
			list = []any{object}
		}
		joinKeyed(elements, list)
		return elements
	}
	if elements, ok := old.(*keyedElements); ok {
		return elements
	}
	switch {
	case isObject:
		return joinObject(old, object, rule, f, unknown)
	case appends && isText:
		return appendText(old, text, f)
	case (appends || rule == chatpbv1.Fold_FOLD_APPEND_ARRAYS) && isList:
		return appendArray(old, list, f, unknown)
	case rule == chatpbv1.Fold_FOLD_NAME && isText:
		known, ok := old.(*nameInPieces)
		if !ok {
			known = &nameInPieces{}
		}
		known.add(text)
		return known
	case !exists || old == nil:
		return value
	case isEmptyValue(value) || rule == chatpbv1.Fold_FOLD_FIRST && !isEmptyValue(old):
		return old
	}
	return value
}

func joinObject(old any, object *tree, rule chatpbv1.Fold, f *field, unknown *unknownRules) *tree {
	joined, ok := old.(*tree)
	if !ok {
		joined = &tree{}
	}
	switch {
	case f == nil:
		joinMembers(joined, object, nil, unknown)
	case f.message() != nil:
		joinMembers(joined, object, f.message(), nil)
	default:
		rules := *unknown
		rules.rule = rule
		joinMembers(joined, object, nil, &rules)
	}
	return joined
}

func joinKeyed(elements *keyedElements, values []any) {
	elements.beginArray()
	for position, value := range values {
		if object, ok := value.(*tree); ok {
			joinMembers(elements.place(object, position, len(values)), object, elements.mapped, nil)
		} else {
			elements.add(value, noKey)
		}
	}
}

func appendArray(old any, values []any, f *field, unknown *unknownRules) any {
	earlier, isText := old.(*textInPieces)
	isText = isText && !earlier.isEmpty()
	if !unknown.joinsObjects() || f != nil && f.shape == list {
		joined, _ := old.([]any)
		if isText {
			joined = []any{earlier}
		} else if joined == nil {
			joined = []any{}
		}
		return append(joined, values...)
	}
	parts, ok := old.(*unknownElements)
	if !ok {
		parts = &unknownElements{rules: unknown}
		if isText {
			appendPart(parts, earlier.finish(), f)
		}
	}
	parts.beginArray()
	for position, value := range values {
		if object, ok := value.(*tree); ok {
			joinPart(parts, object, position)
		} else {
			parts.add(value, noKey)
		}
	}
	return parts
}

func joinPart(parts *unknownElements, part *tree, position int) {
	joinMembers(parts.place(part, position), part, nil, parts.rules.withinArray())
}

func appendText(old any, text string, f *field) any {
	switch old := old.(type) {
	case *textInPieces:
		old.add(text)
		return old
	case *unknownElements:
		if text != "" {
			appendPart(old, text, f)
		}
		return old
	case []any:
		if text == "" {
			return old
		}
		if len(old) > 0 {
			if last, ok := old[len(old)-1].(*textInPieces); ok {
				last.add(text)
				return old
			}
		}
		return append(old, newText(text, f))
	}
	return newText(text, f)
}

// appendPart appends a string to an array of parts.
func appendPart(parts *unknownElements, text string, f *field) {
	parts.beginArray()
	if f == nil || f.part == nil {
		parts.add(text, noKey)
		return
	}
	part := &tree{}
	for _, m := range f.part.members {
		if m.name == f.partText {
			m.value = text
		}
		part.set(m.name, m.value)
	}
	joinPart(parts, part, 0)
}

// joinWhole joins a member that is sent next to its pieces.
func joinWhole(joined *tree, name string, value any) {
	object, ok := value.(*tree)
	if !ok {
		if _, exists := joined.get(name); !exists {
			joined.set(name, value)
		}
		return
	}
	if joined.wholes == nil {
		joined.wholes = &tree{}
	}
	held, _ := joined.wholes.get(name)
	whole, ok := held.(*tree)
	if !ok {
		whole = &tree{}
		joined.wholes.set(name, whole)
	}
	for _, m := range object.members {
		if _, exists := whole.get(m.name); !exists || !isEmptyValue(m.value) {
			whole.set(m.name, m.value)
		}
	}
}

// finish makes a JSON tree of what join made, and leaves that as it is.
func finish(joined any) any {
	switch joined := joined.(type) {
	case *textInPieces:
		return joined.finish()
	case *nameInPieces:
		return joined.finish()
	case *keyedElements:
		return joined.inOrder()
	case *unknownElements:
		return joined.inOrder()
	case []any:
		finished := make([]any, len(joined))
		for i, value := range joined {
			finished[i] = finish(value)
		}
		return finished
	case *tree:
		finished := &tree{members: make([]treeMember, 0, len(joined.members))}
		for _, m := range joined.members {
			finished.set(m.name, finish(m.value))
		}
		if joined.wholes != nil {
			for _, whole := range joined.wholes.members {
				held, _ := finished.get(whole.name)
				pieces, ok := held.(*tree)
				if !ok {
					pieces = &tree{}
				}
				finished.set(whole.name, mergeWhole(whole.value.(*tree), pieces))
			}
		}
		return finished
	}
	return joined
}

// mergeWhole gives the object that was sent whole, where it has all that its pieces make.
func mergeWhole(whole, pieces *tree) *tree {
	merged := whole.with(pieces)
	for _, m := range whole.members {
		part, _ := pieces.get(m.name)
		if covers(m.value, part) {
			merged.set(m.name, m.value)
		}
	}
	return merged
}

// covers reports whether a value has all that another one has, and perhaps more.
func covers(whole, part any) bool {
	if part == nil {
		return true
	}
	object, isObject := whole.(*tree)
	if parts, ok := part.([]any); ok && isObject && len(parts) == 1 {
		part = parts[0] // an object that was folded as an array of one
	}
	switch whole := whole.(type) {
	case *tree:
		part, ok := part.(*tree)
		if !ok {
			return false
		}
		for _, m := range part.members {
			if held, exists := object.get(m.name); !exists || !covers(held, m.value) {
				return false
			}
		}
		return true
	case []any:
		parts, ok := part.([]any)
		if !ok || len(whole) < len(parts) {
			return false
		}
		for i := range parts {
			if !covers(whole[i], parts[i]) {
				return false
			}
		}
		return true
	case string:
		text, ok := part.(string)
		return ok && begins(whole, text)
	}
	return isEqual(whole, part)
}
