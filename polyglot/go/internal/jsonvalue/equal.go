// Package jsonvalue reports whether two JSON texts are the same value, for the tests of chatpb.
package jsonvalue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Difference says where two JSON texts differ as values; it is empty if they do not. Objects have no
// order, of members with the same name the last counts, lone surrogates are kept, and numbers
// with a fraction or an exponent count as the doubles that they are.
func Difference(a, b []byte) string {
	first, err := decode(a)
	if err != nil {
		return err.Error()
	}
	second, err := decode(b)
	if err != nil {
		return err.Error()
	}
	return difference("$", first, second)
}

func decode(text []byte) (any, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	decoder := json.NewDecoder(bytes.NewReader(markSurrogates(text)))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}

// markSurrogates writes the escapes of lone surrogates, which encoding/json would replace, as text
// that begins with a noncharacter.
func markSurrogates(text []byte) []byte {
	var out []byte
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			out = append(out, text[i])
			continue
		}
		size := 2
		if unit := surrogate(text[i:]); unit >= 0xdc00 || unit != 0 && surrogate(text[i+6:]) < 0xdc00 {
			out = append(append(out, "\ufdd0"...), bytes.ToLower(text[i+2:i+6])...)
			i += 5
			continue
		} else if unit != 0 {
			size = 12
		}
		out = append(out, text[i:i+size]...)
		i += size - 1
	}
	return out
}

func surrogate(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	unit, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	if unit < 0xd800 || unit > 0xdfff {
		return 0
	}
	return unit
}

func difference(path string, a, b any) string {
	switch first := a.(type) {
	case map[string]any:
		second, ok := b.(map[string]any)
		if !ok || len(first) != len(second) {
			break
		}
		for key, value := range first {
			other, ok := second[key]
			if !ok {
				return fmt.Sprintf("%s: no member %q", path, key)
			}
			if found := difference(path+"."+key, value, other); found != "" {
				return found
			}
		}
		return ""
	case []any:
		second, ok := b.([]any)
		if !ok || len(first) != len(second) {
			break
		}
		for i := range first {
			if found := difference(fmt.Sprintf("%s[%d]", path, i), first[i], second[i]); found != "" {
				return found
			}
		}
		return ""
	case json.Number:
		if second, ok := b.(json.Number); ok && sameNumber(string(first), string(second)) {
			return ""
		}
	default:
		if a == b {
			return ""
		}
	}
	return fmt.Sprintf("%s: %.100v is not %.100v", path, a, b)
}

func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	first, second := exact(a), exact(b)
	if first == nil || second == nil {
		return first == second && a[0] == b[0]
	}
	return first.Cmp(second) == 0
}

// exact gives the value of a number; nil beyond the range of doubles.
func exact(text string) *big.Rat {
	if !strings.ContainsAny(text, ".eE") {
		value, _ := new(big.Rat).SetString(text)
		return value
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil
	}
	return new(big.Rat).SetFloat64(number)
}
