// Package vectors reads the vectors that all implementations of chatpb share.
package vectors

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// A Vector is an entry of one of the manifests, which have different members.
type Vector struct {
	Name        string `json:"name"`
	MessageType string `json:"message_type"`
	Invalid     bool   `json:"invalid"` // binary/manifest.json
	Form        string `json:"form"`    // invalid/manifest.json
	Path        string `json:"path"`
	Reason      string `json:"reason"`
	Offset      *int   `json:"offset"`
	Stream             // stream/manifest.json
	folder      string
}

// Load reads the manifest of a folder.
func Load(folder string) ([]Vector, error) {
	data, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		return nil, err
	}
	var vectors []Vector
	if err := json.Unmarshal(data, &vectors); err != nil {
		return nil, err
	}
	if len(vectors) == 0 {
		return nil, fmt.Errorf("%s has no vectors", folder)
	}
	for i := range vectors {
		vectors[i].folder = folder
	}
	return vectors, nil
}

// File reads the file of a vector that has the ending.
func (v Vector) File(ending string) ([]byte, error) {
	return os.ReadFile(filepath.Join(v.folder, v.Name+"."+ending))
}

// HasReason reports whether a reason is that of the vector. Behind it may follow what to do in Go,
// and how Go quotes what came.
func (v Vector) HasReason(reason string) bool {
	rest, found := strings.CutPrefix(reason, v.Reason)
	if !found || rest == "" {
		return found
	}
	for _, begin := range []string{"; ", ": ", ", got "} {
		if strings.HasPrefix(rest, begin) {
			return true
		}
	}
	return false
}

// New gives an empty message of the vector's type.
func (v Vector) New() (proto.Message, error) {
	found, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(v.MessageType))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.MessageType, err)
	}
	return found.New().Interface(), nil
}

// Read parses the file of a vector that has the ending as a message.
func (v Vector) Read(ending string) (proto.Message, []byte, error) {
	data, err := v.File(ending)
	if err != nil {
		return nil, nil, err
	}
	m, err := v.New()
	if err != nil {
		return nil, nil, err
	}
	return m, data, proto.Unmarshal(data, m)
}
