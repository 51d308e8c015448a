// Command benchmark compares the conversions of package chatpb with encoding/json and structs.
//
// Its arguments are JSON files, each a completion. For each file and operation it prints a line, with
// tabs between: the name of the file without its ending, the operation, the peer, and the least
// nanoseconds of ours and of the peer.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

const peer = "encoding/json (structs)"

func main() {
	log.SetFlags(0)
	seconds := flag.Float64("seconds", 1, "the time for each figure")
	flag.Parse()
	for _, path := range flag.Args() {
		if err := measureFile(path, *seconds); err != nil {
			log.Fatalf("%s: %v", path, err)
		}
	}
}

func measureFile(path string, seconds float64) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	held := &chatpbv1.ChatCompletion{}
	if err := chatpb.FromJSON(text, held); err != nil {
		return err
	}
	binary, err := chatpb.Marshal(held)
	if err != nil {
		return err
	}
	var structs completion
	if err := json.Unmarshal(text, &structs); err != nil {
		return err
	}
	read := func() error { return json.Unmarshal(text, &completion{}) }
	write := func() error {
		_, err := json.Marshal(&structs)
		return err
	}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	for _, each := range []struct {
		operation   string
		ours, peers func() error
	}{
		{"json_to_binary", func() error {
			_, err := chatpb.JSONToBinary(text, held)
			return err
		}, read},
		{"from_json", func() error { return chatpb.FromJSON(text, &chatpbv1.ChatCompletion{}) }, read},
		{"binary_to_json", func() error {
			_, err := chatpb.BinaryToJSON(binary, held)
			return err
		}, write},
		{"to_json", func() error {
			_, err := chatpb.ToJSON(held)
			return err
		}, write},
	} {
		ours, peers, err := measure(each.ours, each.peers, seconds)
		if err != nil {
			return err
		}
		fmt.Printf("%s\t%s\t%s\t%.0f\t%.0f\n", name, each.operation, peer, ours, peers)
	}
	return nil
}

// measure gives the least times of two functions, which run in turns.
func measure(first, second func() error, seconds float64) (float64, float64, error) {
	times := [2]float64{math.Inf(1), math.Inf(1)}
	calls := 1
	for end := time.Now().Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(end); {
		var round time.Duration
		for i, call := range []func() error{first, second} {
			start := time.Now()
			for range calls {
				if err := call(); err != nil {
					return 0, 0, err
				}
			}
			took := time.Since(start)
			round += took
			times[i] = min(times[i], float64(took)/float64(calls))
		}
		if round < 2*time.Millisecond {
			calls *= 2 // until a round takes much longer than a look at the clock
		}
	}
	return times[0], times[1], nil
}
