package chatpb_test

import (
	"testing"
)

func TestStreamVectors(t *testing.T) {
	for _, vector := range load(t, "stream") {
		t.Run(vector.Name, func(t *testing.T) {
			if err := vector.CheckStream(); err != nil {
				t.Error(err)
			}
		})
	}
}
