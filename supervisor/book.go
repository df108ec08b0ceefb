package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"supervisor/supervisor/fault"
	"supervisor/supervisor/state"
)

// book is what the World was last given to record. Everything in it is kept encoded, in
// pieces of which those alone are made anew that a message has changed; with a thousand
// workers the document has some hundred kilobytes.
type book struct {
	kept  <-chan struct{} // closed when all that was given is kept; nil: it is
	cover cover
	ink   ink
}

// cover is by what the document changes beside its apps' own pieces.
type cover struct {
	lastID, lastKey uint64
	apps, unkept    int // a message adds or removes some, never both
}

// commit puts what a message has changed on record, then has the acts done that it led
// to. The apps are those that it may have changed.
func (l *Loop) commit(apps ...*app) {
	b := &l.book
	now := cover{l.lastID, l.lastKey, len(l.apps), len(l.unkept)}
	changed := now != b.cover
	for _, a := range apps {
		if a != nil && !a.deleted && b.ink.write(a) {
			changed = true
		}
	}
	if changed {
		b.cover = now
		fault.Point("loop.changed")
		b.kept = l.world.world.Record(l.document())
		fault.Point("loop.recorded")
	}
	l.world.flush()
}

// document is the record in pieces.
func (l *Loop) document() [][]byte {
	n := 2 + len(l.unkept)
	for _, a := range l.apps {
		n += len(a.image.parts)
	}
	head := fmt.Appendf(nil, `{"schema":%d,"last_id":%d,"last_key":%d,"unkept":[`, Schema, l.lastID, l.lastKey)
	parts := append(make([][]byte, 0, n+1), head)
	for _, u := range l.unkept {
		parts = append(parts, u.text)
	}
	dropComma(parts, 1)
	begin := len(parts) + 1
	parts = append(parts, beginApps)
	for _, a := range l.apps {
		parts = append(parts, a.image.parts...)
	}
	dropComma(parts, begin)
	return append(parts, endAll)
}

// ink writes pieces of the document.
type ink struct {
	pieces [][]byte // of the app in work
	buf    bytes.Buffer
	json   *json.Encoder // into buf
}

// piece is a value that is never changed, or a copy of one that can be compared, and its
// text, which is written again only when another value comes.
type piece[T comparable] struct {
	of   T
	text []byte
}

// stale reports whether the text is another value's, and takes it for this one's.
func (p *piece[T]) stale(of T) bool {
	if p.text != nil && p.of == of {
		return false
	}
	p.of = of
	return true
}

// list tells one list from another, where lists are replaced and never changed.
type list struct {
	first *string
	n     int
}

func listOf(s []string) list {
	if len(s) == 0 {
		return list{}
	}
	return list{&s[0], len(s)}
}

// The texts of an app's parts, kept with what they are of.
type (
	appImage struct {
		head   []byte
		env    piece[list]
		last   piece[*state.Receipt]
		pieces [][]byte // all of the app
		parts  [][]byte // the same, perPart joined in each
	}
	startImage struct {
		head []byte
		env  piece[list]
	}
	rollImage struct {
		head []byte
		env  piece[list]
	}
	genImage struct {
		head   []byte
		launch []byte
		served piece[int]
	}
)

// What stands between the texts; a list's elements begin with a comma, the first's is
// dropped.
var (
	beginApps    = []byte(`],"apps":[`)
	beginRows    = []byte(`,"rows":[`)
	beginGens    = []byte(`,"gens":[`)
	beginMembers = []byte(`,"members":[`)
	endObject    = []byte(`}`)
	endList      = []byte(`]`)
	endBoth      = []byte("]}")
	endAll       = []byte("]}\n")
)

// write brings the texts of an app up to date and reports whether any has changed.
func (k *ink) write(a *app) bool {
	k.pieces = k.pieces[:0]
	head := a.head()
	k.small(&a.image.head, `,{"head":`, &head)
	k.env(&a.image.env, a.env)
	if s := a.starting; s != nil {
		k.small(&s.image.head, `,"starting":{"head":`, &startHead{s.spec, s.count})
		k.env(&s.image.env, s.env)
		k.add(endObject)
	}
	if a.roll != nil {
		k.roll(a)
	}
	k.add(beginGens)
	begin := len(k.pieces)
	for _, n := range slices.Sorted(maps.Keys(a.gens)) {
		g := a.gens[n]
		k.small(&g.image.head, `,{"head":`, &genHead{g.n, g.spec})
		if g.image.launch == nil {
			g.image.launch = k.text(`,"launch":`, &g.launch)
		}
		if p := &g.image.served; p.stale(g.known) {
			p.text = k.text(`,"served":`, g.servedBy())
		}
		k.add(g.image.launch, g.image.served.text, endObject)
	}
	dropComma(k.pieces, begin)
	k.add(endList)
	if p := &a.image.last; p.stale(a.lastReceipt) {
		p.text = k.text(`,"last_receipt":`, a.lastReceipt)
	}
	k.add(a.image.last.text, beginMembers)
	begin = len(k.pieces)
	for _, w := range a.members {
		if p := &w.image; p.stale(w.record()) {
			p.text = k.text(`,`, &p.of)
		}
		k.add(w.image.text)
	}
	dropComma(k.pieces, begin)
	k.add(endBoth)
	return a.image.take(k.pieces)
}

// perPart is how many texts are joined to a part of the document: with more there is more
// to copy for each that changes, with less there are more parts to list for all the rest.
const perPart = 16

// take makes the parts anew in which a text is another one, and reports whether any is.
func (im *appImage) take(pieces [][]byte) bool {
	if slices.EqualFunc(pieces, im.pieces, sameText) {
		return false
	}
	old := slices.Collect(slices.Chunk(im.pieces, perPart))
	parts := make([][]byte, 0, len(pieces)/perPart+1)
	for chunk := range slices.Chunk(pieces, perPart) {
		if n := len(parts); n < len(old) && slices.EqualFunc(chunk, old[n], sameText) {
			parts = append(parts, im.parts[n])
		} else {
			parts = append(parts, slices.Concat(chunk...))
		}
	}
	im.pieces, im.parts = append(im.pieces[:0], pieces...), parts
	return true
}

func (k *ink) roll(a *app) {
	r := a.roll
	head := a.rollHead()
	k.small(&r.image.head, `,"roll":{"head":`, &head)
	k.env(&r.image.env, r.env)
	k.add(beginRows)
	begin := len(k.pieces)
	for _, slot := range slices.Sorted(maps.Keys(r.rows)) {
		row := r.rows[slot]
		if p := &row.image; p.stale(row.edits) {
			p.text = k.text(`,`, &row.WorkerReceipt)
		}
		k.add(row.image.text)
	}
	dropComma(k.pieces, begin)
	k.add(endBoth)
}

// add appends texts that exist.
func (k *ink) add(texts ...[]byte) { k.pieces = append(k.pieces, texts...) }

// env appends an environment.
func (k *ink) env(p *piece[list], env []string) {
	if p.stale(listOf(env)) {
		p.text = k.text(`,"env":`, env)
	}
	k.add(p.text)
}

// small appends a value that is quicker written again than looked at for changes; what
// it was is kept where it is the same.
func (k *ink) small(kept *[]byte, before string, v any) {
	if text := k.scratch(before, v); !bytes.Equal(text, *kept) {
		*kept = bytes.Clone(text)
	}
	k.add(*kept)
}

// text returns the text of a value, for good.
func (k *ink) text(before string, v any) []byte { return bytes.Clone(k.scratch(before, v)) }

// scratch is text that lasts until the next one.
func (k *ink) scratch(before string, v any) []byte {
	if k.json == nil {
		k.json = json.NewEncoder(&k.buf)
		k.json.SetEscapeHTML(false)
	}
	k.buf.Reset()
	k.buf.WriteString(before)
	if err := k.json.Encode(v); err != nil {
		panic(err) // a record is data, of types that can all be written
	}
	return k.buf.Bytes()
}

// sameText reports whether two texts are the same piece.
func sameText(a, b []byte) bool { return &a[0] == &b[0] && len(a) == len(b) }

// dropComma takes the first element's comma from a list that begins at a part.
func dropComma(parts [][]byte, begin int) {
	if begin < len(parts) {
		parts[begin] = parts[begin][1:]
	}
}
