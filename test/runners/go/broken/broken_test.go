package broken

import (
	"fmt"
	"os"
	"testing"
)

func TestBroken(t *testing.T) {
	if os.Getenv("IN_KTEST") == "true" {
		fmt.Println("failed in a guest")
	}
	os.Exit(3)
}
