package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
	"github.com/chatpb/chatpb-go/internal/vectors"
)

// answerAll prints the result of each input of a file, as tests/vectors/README.md specifies it.
func answerAll(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		fields := strings.Split(line, "\t")
		result, err := answer(fields[0], fields[1:])
		var fault *chatpb.ConversionError
		if err != nil && !errors.As(err, &fault) {
			return fmt.Errorf("%.200s: %w", line, err)
		}
		fmt.Fprintln(out, strings.Join(result, "\t"))
	}
	return out.Flush()
}

// answer gives the result of an input. An error that is no *ConversionError is a fault of this
// program, or of the library.
func answer(name string, arguments []string) ([]string, error) {
	words := 0 // arguments that are not bytes
	switch name {
	case "read", "write":
		words = 1
	case "sse":
		words = 2
	}
	parts := make([][]byte, 0, len(arguments))
	for _, argument := range arguments[words:] {
		part, err := hex.DecodeString(argument)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	switch name {
	case "read":
		return answerRead(arguments[0], parts[0])
	case "write":
		return answerWrite(arguments[0], parts[0])
	case "fold":
		return answerFold(parts)
	case "unfold":
		return answerUnfold(parts[0])
	case "restore":
		return answerRestore(parts)
	case "sse":
		return answerEvents(arguments[0], arguments[1], parts[0])
	}
	return []string{"none"}, nil
}

func answerRead(name string, text []byte) ([]string, error) {
	m, err := vectors.Vector{MessageType: name}.New()
	if err != nil {
		return nil, err
	}
	if err := chatpb.FromJSON(text, m); err != nil {
		var fault *chatpb.ConversionError
		if !errors.As(err, &fault) {
			return nil, err
		}
		return []string{"refused", hex.EncodeToString([]byte(fault.Path)), strconv.Itoa(fault.Offset)}, nil
	}
	data, err := chatpb.JSONToBinary(text, m)
	if err != nil {
		return nil, fmt.Errorf("only FromJSON takes it: %s", err)
	}
	if own := hex.EncodeToString(data); own != hexOf(m) {
		return []string{"ok", own, "OR", hexOf(m)}, nil
	}
	return given(m)
}

func answerWrite(name string, data []byte) ([]string, error) {
	m, err := vectors.Vector{MessageType: name}.New()
	if err != nil {
		return nil, err
	}
	if err := chatpb.Unmarshal(data, m); err != nil {
		return refused(), err
	}
	text, err := chatpb.ToJSON(m)
	if err != nil {
		return refused(), err
	}
	if err := chatpb.FromJSON(text, m); err != nil {
		return nil, fmt.Errorf("%s was written: %s", text, err)
	}
	return given(m)
}

func answerFold(texts [][]byte) ([]string, error) {
	folder := chatpb.NewFolder()
	for _, text := range texts {
		chunk := &chatpbv1.ChatCompletionChunk{}
		if err := chatpb.FromJSON(text, chunk); err != nil {
			return refused(), err
		}
		if err := folder.Add(chunk); err != nil {
			return refused(), err
		}
	}
	completion, err := folder.Completion()
	if err != nil {
		return refused(), err
	}
	return given(completion)
}

func answerUnfold(text []byte) ([]string, error) {
	completion := &chatpbv1.ChatCompletion{}
	if err := chatpb.FromJSON(text, completion); err != nil {
		return refused(), err
	}
	chunks, err := chatpb.Unfold(completion)
	if err != nil {
		return refused(), err
	}
	return given(messages(chunks)...)
}

func answerRestore(responses [][]byte) ([]string, error) {
	var restorer chatpb.Restorer
	var chunks []*chatpbv1.ChatCompletionChunk
	for _, data := range responses {
		response := &chatpbv1.StreamChatCompletionResponse{}
		if err := proto.Unmarshal(data, response); err != nil {
			return refused(messages(chunks)...), nil
		}
		for chunk, err := range restorer.Chunks(response) {
			if err != nil {
				return refused(messages(chunks)...), err
			}
			chunks = append(chunks, chunk)
		}
	}
	return given(messages(chunks)...)
}

func answerEvents(most, size string, data []byte) ([]string, error) {
	limit, err := strconv.Atoi(most)
	if err != nil {
		return nil, err
	}
	step, err := strconv.Atoi(size)
	if err != nil {
		return nil, err
	}
	decoder := chatpb.NewChunkDecoder(chatpb.MaxEventBytes(limit))
	var chunks []*chatpbv1.ChatCompletionChunk
	var failure error
	for len(data) > 0 && failure == nil {
		var found []*chatpbv1.ChatCompletionChunk
		end := min(step, len(data))
		found, failure = decoder.Feed(data[:end])
		chunks = append(chunks, found...)
		data = data[end:]
	}
	if failure == nil {
		var found []*chatpbv1.ChatCompletionChunk
		found, failure = decoder.Close()
		chunks = append(chunks, found...)
	}
	result := "ok"
	if failure != nil {
		result = "refused"
	}
	flags := flag(decoder.IsDone()) + flag(decoder.IsErrorOfChoice())
	found := "-"
	if decoder.Error() != nil {
		found = hexOf(decoder.Error())
	}
	return append([]string{result, flags, found}, hexesOf(messages(chunks))...), failure
}

func flag(is bool) string {
	if is {
		return "1"
	}
	return "0"
}

func messages[M proto.Message](of []M) []proto.Message {
	all := make([]proto.Message, 0, len(of))
	for _, each := range of {
		all = append(all, each)
	}
	return all
}

func given(found ...proto.Message) ([]string, error) {
	return append([]string{"ok"}, hexesOf(found)...), nil
}

func refused(before ...proto.Message) []string {
	return append([]string{"refused"}, hexesOf(before)...)
}

func hexesOf(found []proto.Message) []string {
	all := make([]string, 0, len(found))
	for _, each := range found {
		all = append(all, hexOf(each))
	}
	return all
}

func hexOf(m proto.Message) string {
	data, err := chatpb.Marshal(m)
	if err != nil {
		return "!" + err.Error()
	}
	return hex.EncodeToString(data)
}
