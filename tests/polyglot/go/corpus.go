package main

import (
	"errors"

	chatpb "github.com/chatpb/chatpb-go"
	"github.com/chatpb/chatpb-go/internal/corpus"
	"github.com/chatpb/chatpb-go/internal/jsonvalue"
)

// checkCorpus checks that recorded JSON comes back equal: every object is a case.
func checkCorpus(folder string, r *report) error {
	texts, err := corpus.Load(folder)
	for _, text := range texts {
		r.run("corpus", text.Name, func() error { return checkRecorded(text) })
	}
	return err
}

func checkRecorded(text corpus.Text) error {
	m, err := text.New()
	if err != nil {
		return err
	}
	if err := chatpb.FromJSON(text.Data, m); err != nil {
		return err
	}
	written, err := chatpb.ToJSON(m)
	if err != nil {
		return err
	}
	if found := jsonvalue.Difference(text.Data, written); found != "" {
		return errors.New(found)
	}
	return nil
}
