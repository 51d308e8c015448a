package chatpb

import (
	"fmt"
	"strings"
)

// NoOffset is the Offset of an error that has no place in a text.
const NoOffset = -1

// A ConversionError says why a value cannot be converted, and where it stands.
type ConversionError struct {
	// Path is the place in the JSON document, such as $.choices[0].logprobs.
	Path string
	// Reason says what is wrong there, in lower case, with what was wanted.
	Reason string
	// Offset is the offset of the byte in the JSON text, or NoOffset.
	Offset int
}

// Error gives the place and the reason.
func (e *ConversionError) Error() string {
	if e.Offset == NoOffset {
		return e.Path + ": " + e.Reason
	}
	return fmt.Sprintf("%s (byte %d): %s", e.Path, e.Offset, e.Reason)
}

func refuse(reason string) *ConversionError {
	return &ConversionError{Path: "$", Reason: reason, Offset: NoOffset}
}

// below gives the error as it is seen from the object that has the value as a member.
func (e *ConversionError) below(name string) *ConversionError {
	e.Path = "$" + nameSegment(name) + e.Path[1:]
	return e
}

// at gives the error as it is seen from the array that has the value as an element.
func (e *ConversionError) at(index int) *ConversionError {
	e.Path = fmt.Sprintf("$[%d]%s", index, e.Path[1:])
	return e
}

var pathEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// nameSegment is a name as it stands in a path.
func nameSegment(name string) string {
	if isIdentifier(name) {
		return "." + name
	}
	return "['" + string(appendEscapedSurrogates(nil, pathEscapes.Replace(name))) + "']"
}

func isIdentifier(name string) bool {
	for i := range len(name) {
		c := name[i]
		isLetter := c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !isLetter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
