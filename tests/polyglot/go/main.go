// Command conformance checks that Go reads chatpb's messages as every other language does.
//
// Its arguments are the folder of the vectors and the address of a relay. It prints a line for each
// case: the kind, the case and the result.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: conformance VECTORS_DIR RELAY_ADDRESS, or --fuzz FILE")
	}
	if os.Args[1] == "--fuzz" {
		if err := answerAll(os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	r := &report{out: bufio.NewWriter(os.Stdout)}
	err := checkAll(os.Args[1], os.Args[2], r)
	r.out.Flush()
	if err != nil {
		log.Fatal(err)
	}
	if r.failed {
		os.Exit(1)
	}
}

func checkAll(folder, address string, r *report) error {
	if err := checkVectors(folder, r); err != nil {
		return err
	}
	if err := checkInvalidJSON(folder, r); err != nil {
		return err
	}
	if err := checkStreams(folder, r); err != nil {
		return err
	}
	if corpus := os.Getenv("CHATPB_CORPUS"); corpus != "" {
		if err := checkCorpus(corpus, r); err != nil {
			return err
		}
	}
	return checkRelay(address, r)
}

// A report prints the results of cases.
type report struct {
	out    *bufio.Writer
	failed bool
}

// run runs a case. A panic is a failure, too.
func (r *report) run(kind, name string, check func() error) {
	result := "ok"
	if err := attempt(check); err != nil {
		result = "FAIL: " + oneLine(err.Error())
		r.failed = true
	}
	fmt.Fprintf(r.out, "%s\t%s\t%s\n", kind, name, result)
}

func attempt(check func() error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	return check()
}

func oneLine(text string) string {
	quoted := fmt.Sprintf("%q", text)
	return quoted[1 : len(quoted)-1]
}
