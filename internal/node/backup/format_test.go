package backup

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// docs/format/backup.md names every file and every name of the manifest.
func TestFormatIsDrawn(t *testing.T) {
	b, err := os.ReadFile("../../../docs/format/backup.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	words := []string{manifestName, manifestSum, recordsName, lockName, unfinishedName, "`\"" + manifestMagic + "\"`, 1."}
	if manifestVersion != 1 {
		t.Error("the version is another one than the drawing's")
	}
	for _, v := range []any{Manifest{}, Partition{}, File{}, Source{}, Missing{}} {
		for f := range reflect.TypeOf(v).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			words = append(words, "`"+name+"`")
		}
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("docs/format/backup.md has no word of %s", word)
		}
	}
}
