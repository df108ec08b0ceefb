package ecosystem

import "fmt"

// A word is near another within maxEdits changes of a letter, and words longer
// than maxWord are not compared.
const (
	maxEdits = 3
	maxWord  = 40
)

// unknown is the message about a key that is not among known.
func unknown(key string, known []string) string {
	if near := nearest(key, known); near != "" {
		return fmt.Sprintf("unknown key %q: did you mean %s?", short(key), near)
	}
	return fmt.Sprintf("unknown key %q", short(key))
}

// nearest returns the known word that the fewest changes turn key into, or ""
// when none is near: a third of a word changed is another word.
func nearest(key string, known []string) string {
	if len(key) > maxWord {
		return ""
	}
	best, found := min(maxEdits, max(1, len(key)/3))+1, ""
	for _, word := range known {
		if max(len(word)-len(key), len(key)-len(word)) >= best {
			continue // one letter more or less is one edit at least
		}
		if d := edits(key, word); d < best {
			best, found = d, word
		}
	}
	return found
}

// edits counts the letters to insert, delete, replace, or swap with a neighbour
// (optimal string alignment) that turn a into b.
func edits(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
