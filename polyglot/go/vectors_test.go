package chatpb_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	"github.com/chatpb/chatpb-go/internal/corpus"
	"github.com/chatpb/chatpb-go/internal/jsonvalue"
	"github.com/chatpb/chatpb-go/internal/vectors"
)

// folder is where the vectors are: in the repository, or where CHATPB_VECTORS says.
func folder() string {
	if named := os.Getenv("CHATPB_VECTORS"); named != "" {
		return named
	}
	return filepath.Join("..", "..", "tests", "vectors")
}

func load(t testing.TB, below string) []vectors.Vector {
	t.Helper()
	loaded, err := vectors.Load(filepath.Join(folder(), below))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no vectors; set CHATPB_VECTORS to tests/vectors of chatpb's repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func readJSON(t testing.TB, vector vectors.Vector, text []byte) (proto.Message, []byte) {
	t.Helper()
	m := must[proto.Message](t)(vector.New())
	if err := chatpb.FromJSON(text, m); err != nil {
		t.Fatal(err)
	}
	return m, must[[]byte](t)(chatpb.Marshal(m))
}

// aToken is a string, kept as it is, or a sign of JSON's, round which white space may stand.
var aToken = regexp.MustCompile(`("(?:[^"\\]|\\.)*")|([\[\]{},:])`)

func TestVectors(t *testing.T) {
	for _, vector := range load(t, "") {
		t.Run(vector.Name, func(t *testing.T) {
			text := must[[]byte](t)(vector.File("json"))
			expected := must[[]byte](t)(vector.File("binpb"))

			_, binary := readJSON(t, vector, text)
			if !bytes.Equal(expected, binary) {
				t.Errorf("JSON gives other bytes: %x, not %x", binary, expected)
			}

			m := must[proto.Message](t)(vector.New())
			if err := chatpb.Unmarshal(expected, m); err != nil {
				t.Fatal(err)
			}
			written := must[[]byte](t)(chatpb.ToJSON(m))
			if found := jsonvalue.Difference(text, written); found != "" {
				t.Errorf("other JSON: %s", found)
			}
			if _, again := readJSON(t, vector, written); !bytes.Equal(expected, again) {
				t.Error("what was read is not in its normal form")
			}

			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
			spaced := aToken.ReplaceAll(text, []byte(" \r\n$1$2\t "))
			if _, again := readJSON(t, vector, spaced); !bytes.Equal(expected, again) {
				t.Error("white space gives other bytes")
			}
		})
	}
}

func TestInvalidVectors(t *testing.T) {
	for _, vector := range load(t, "invalid") {
		t.Run(vector.Name, func(t *testing.T) {
			err := refused(t, vector)
			var fault *chatpb.ConversionError
			if !errors.As(err, &fault) {
				t.Fatalf("not refused: %v", err)
			}
			offset := chatpb.NoOffset
			if vector.Offset != nil {
				offset = *vector.Offset
			}
			if vector.Path != fault.Path || offset != fault.Offset {
				t.Errorf("%s (byte %d), not %s (byte %d)", fault.Path, fault.Offset, vector.Path, offset)
			}
			if !vector.HasReason(fault.Reason) {
				t.Errorf("%q does not say %q", fault.Reason, vector.Reason)
			}
		})
	}
}

func refused(t *testing.T, vector vectors.Vector) error {
	m := must[proto.Message](t)(vector.New())
	if vector.Form == "json" {
		return chatpb.FromJSON(must[[]byte](t)(vector.File("json")), m)
	}
	if err := chatpb.Unmarshal(must[[]byte](t)(vector.File("binpb")), m); err != nil {
		return err
	}
	_, err := chatpb.ToJSON(m)
	return err
}

func TestCorpus(t *testing.T) {
	folder := os.Getenv("CHATPB_CORPUS")
	if folder == "" {
		t.Skip("no recordings; CHATPB_CORPUS names their folder")
	}
	for _, text := range must[[]corpus.Text](t)(corpus.Load(folder)) {
		m := must[proto.Message](t)(text.New())
		if err := chatpb.FromJSON(text.Data, m); err != nil {
			t.Errorf("%s: %v", text.Name, err)
			continue
		}
		written := must[[]byte](t)(chatpb.ToJSON(m))
		if found := jsonvalue.Difference(text.Data, written); found != "" {
			t.Errorf("%s: %s", text.Name, found)
		}
		checkNormal(t, m, written)
	}
}
