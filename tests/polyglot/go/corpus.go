package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
	"github.com/chatpb/chatpb-go/internal/jsonvalue"
)

// checkCorpus checks that recorded JSON comes back equal: every object is a case.
func checkCorpus(folder string, r *report) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		texts, err := textsOf(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		for i, text := range texts {
			name := fmt.Sprintf("%s:%d", filepath.ToSlash(relative), i+1)
			r.run("corpus", name, func() error { return text.check(path) })
		}
		return nil
	})
}

// A recordedText is a JSON text of a file.
type recordedText struct {
	data     []byte
	inStream bool
	event    string
}

func textsOf(path string) ([]recordedText, error) {
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
		return []recordedText{{data: data}}, nil
	case ".jsonl":
		var texts []recordedText
		for _, line := range bytes.Split(data, []byte("\n")) {
			if len(bytes.TrimSpace(line)) > 0 {
				texts = append(texts, recordedText{data: line, inStream: true})
			}
		}
		return texts, nil
	}
	return eventsOf(data), nil
}

// eventsOf gives the data of server-sent events, but for [DONE].
func eventsOf(data []byte) []recordedText {
	var texts []recordedText
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	for _, block := range bytes.Split(data, []byte("\n\n")) {
		text := recordedText{inStream: true}
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
		text.data = bytes.Join(lines, []byte("\n"))
		if lines != nil && string(text.data) != "[DONE]" {
			texts = append(texts, text)
		}
	}
	return texts
}

func (t recordedText) check(path string) error {
	m, err := t.message(filepath.Base(path))
	if err != nil {
		return err
	}
	if err := chatpb.FromJSON(t.data, m); err != nil {
		return err
	}
	written, err := chatpb.ToJSON(m)
	if err != nil {
		return err
	}
	if found := jsonvalue.Difference(t.data, written); found != "" {
		return errors.New(found)
	}
	return nil
}

// message gives an empty message of the type as which the command line of chatpb reads the text.
func (t recordedText) message(name string) (proto.Message, error) {
	var members map[string]any
	if err := json.Unmarshal(t.data, &members); err != nil {
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
	case strings.HasSuffix(name, ".request.json"):
		return &chatpbv1.ChatCompletionRequest{}, nil
	case strings.HasSuffix(name, ".error.json"):
		return &chatpbv1.ErrorResponse{}, nil
	case t.inStream:
		return &chatpbv1.ChatCompletionChunk{}, nil
	}
	return &chatpbv1.ChatCompletion{}, nil
}

// anyHas tells whether a value is an array with an object in it that has the member.
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
