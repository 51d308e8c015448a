// Package corpus reads recorded traffic, for the tests of chatpb.
package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// A Text is a JSON text of a recording.
type Text struct {
	Name     string // its file, and its number there
	Data     []byte
	inStream bool
	event    string
}

// Load reads the files of a folder that end in .json, .jsonl or .sse.
func Load(folder string) ([]Text, error) {
	var all []Text
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		texts, err := textsOf(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		for i := range texts {
			texts[i].Name = fmt.Sprintf("%s:%d", filepath.ToSlash(name), i+1)
		}
		all = append(all, texts...)
		return err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s has no recordings", folder)
	}
	return all, err
}

func textsOf(path string) ([]Text, error) {
	ending := filepath.Ext(path)
	if ending != ".json" && ending != ".jsonl" && ending != ".sse" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	switch ending {
	case ".json":
		return []Text{{Data: data}}, nil
	case ".jsonl":
		var texts []Text
		for _, line := range bytes.Split(data, []byte("\n")) {
			if len(bytes.TrimSpace(line)) > 0 {
				texts = append(texts, Text{Data: line, inStream: true})
			}
		}
		return texts, nil
	}
	return eventsOf(data), nil
}

// eventsOf gives the data of server-sent events, but for [DONE].
func eventsOf(data []byte) []Text {
	var texts []Text
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	for _, block := range bytes.Split(data, []byte("\n\n")) {
		text := Text{inStream: true}
		var lines [][]byte
		for _, line := range bytes.Split(block, []byte("\n")) {
			name, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(name) {
			case "event":
				text.event = string(value)
			case "data":
				lines = append(lines, value)
			}
		}
		text.Data = bytes.Join(lines, []byte("\n"))
		if lines != nil && string(text.Data) != "[DONE]" {
			texts = append(texts, text)
		}
	}
	return texts
}

// New gives an empty message of the type as which the command line of chatpb reads the text.
func (t Text) New() (proto.Message, error) {
	var members map[string]any
	if err := json.Unmarshal(t.Data, &members); err != nil {
		return nil, err
	}
	choices, hasChoices := members["choices"]
	_, hasError := members["error"]
	hasDelta := anyHas(choices, "delta")
	if t.inStream && hasDelta {
		return &chatpbv1.ChatCompletionChunk{}, nil
	}
	switch members["object"] {
	case "chat.completion":
		return &chatpbv1.ChatCompletion{}, nil
	case "chat.completion.chunk":
		return &chatpbv1.ChatCompletionChunk{}, nil
	case "chat.completion.deleted":
		return &chatpbv1.ChatCompletionDeleted{}, nil
	case "error":
		return &chatpbv1.ErrorResponse{}, nil
	case "list":
		if items, ok := members["data"].([]any); ok && len(items) > 0 && !anyHas(items, "choices") {
			return &chatpbv1.ChatCompletionStoreMessageList{}, nil
		}
		return &chatpbv1.ChatCompletionList{}, nil
	}
	if hasChoices && !(hasError && choices == nil) {
		if !anyHas(choices, "message") && (hasDelta || t.inStream) {
			return &chatpbv1.ChatCompletionChunk{}, nil
		}
		return &chatpbv1.ChatCompletion{}, nil
	}
	if hasError {
		return &chatpbv1.ErrorResponse{}, nil
	}
	if _, ok := members["messages"]; ok {
		return &chatpbv1.ChatCompletionRequest{}, nil
	}
	_, hasID := members["id"]
	_, hasMessage := members["message"]
	_, hasDetail := members["detail"]
	if !hasID && (hasMessage || hasDetail) || t.event == "error" {
		return &chatpbv1.ErrorResponse{}, nil
	}
	switch {
	case strings.Contains(t.Name, ".request.json:"):
		return &chatpbv1.ChatCompletionRequest{}, nil
	case strings.Contains(t.Name, ".error.json:"):
		return &chatpbv1.ErrorResponse{}, nil
	case t.inStream:
		return &chatpbv1.ChatCompletionChunk{}, nil
	}
	return &chatpbv1.ChatCompletion{}, nil
}

// anyHas reports whether a value is an array with an object in it that has the member.
func anyHas(value any, name string) bool {
	items, _ := value.([]any)
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			if _, ok := object[name]; ok {
				return true
			}
		}
	}
	return false
}
