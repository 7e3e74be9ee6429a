package config

import "strings"

// among says which names are accepted, and which of them was probably meant.
func among(what string, names []string, name string) string {
	text := what + " " + strings.Join(names, ", ")
	if best := nearest(names, name); best != "" {
		text += "; did you mean " + best + "?"
	}
	return text
}

// nearest is the name with the fewest edits to what was given; empty when none is near.
func nearest(names []string, given string) (best string) {
	least := max(1, min(len(given)/3, 4)) + 1
	for _, n := range names {
		if d := distance(strings.ToLower(n), strings.ToLower(given)); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters that are to be put in, left out, replaced or swapped with the next to make b of a.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}
