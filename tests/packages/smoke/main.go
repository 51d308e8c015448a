// What a user of the module does first; `smoke FOLDER`.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

func read(name string) []byte {
	content, err := os.ReadFile(filepath.Join(os.Args[1], name))
	if err != nil {
		log.Fatal(err)
	}
	return content
}

func main() {
	completion := &chatpbv1.ChatCompletion{}
	if err := chatpb.FromJSON(read("completion.json"), completion); err != nil {
		log.Fatal(err)
	}
	binary, err := chatpb.Marshal(completion)
	if err != nil || !bytes.Equal(read("completion.binpb"), binary) {
		log.Fatal("the binary form differs: ", err)
	}
	text, err := chatpb.ToJSON(completion)
	if err != nil {
		log.Fatal(err)
	}
	again := &chatpbv1.ChatCompletion{}
	if err := chatpb.FromJSON(text, again); err != nil {
		log.Fatal(err)
	}
	var chunks []*chatpbv1.ChatCompletionChunk
	for _, line := range bytes.Split(bytes.TrimSpace(read("stream.jsonl")), []byte("\n")) {
		chunk := &chatpbv1.ChatCompletionChunk{}
		if err := chatpb.FromJSON(line, chunk); err != nil {
			log.Fatal(err)
		}
		chunks = append(chunks, chunk)
	}
	folded, err := chatpb.Fold(chunks)
	if err != nil {
		log.Fatal(err)
	}
	if binary, err = chatpb.Marshal(folded); err != nil || !bytes.Equal(read("folded.binpb"), binary) {
		log.Fatal("the folded completion differs: ", err)
	}
	var failure *chatpb.ConversionError
	err = chatpb.FromJSON([]byte(`{"choices": [tru]}`), completion)
	if !errors.As(err, &failure) || failure.Path != "$.choices[0]" {
		log.Fatal("another error: ", err)
	}
	fmt.Println("passed")
}
