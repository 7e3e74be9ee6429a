package rarity

import (
	"strconv"

	"github.com/amoskys/amoskys/streams"
)

// room bounds the rows of an owner: a ring of places, each with the key of a row. When all are taken, a new row takes the
// place of the one of the next few that was not seen for longest: LRU by sampling, without a list that every use writes.
type room struct {
	limit  int
	kinds  map[byte]lodger
	places *streams.Table[placeRow]
	hands  *streams.Table[handRow]
}

// lodger is a table whose rows need a place.
type lodger struct {
	seen   func(key string) int64 // event time a row was last used; 0 for a row that is gone
	forget func(key string)
}

const looked = 8 // places that are looked at to free one

// placeRow is a place: the kind and the key of a row. Its own key is that of the owner and its number.
type placeRow struct {
	Of string `avro:"of"`
}

// handRow is how many places of an owner are taken, and which one is looked at next. Its key is the owner.
type handRow struct {
	Taken int64 `avro:"taken"`
	Next  int64 `avro:"next"`
}

func newRoom(b *streams.Builder, limit int) *room {
	return &room{limit, map[byte]lodger{}, streams.NewTable[placeRow](b, "place"), streams.NewTable[handRow](b, "hand")}
}

func placeKey(owner string, i int64) string { return owner + "#" + strconv.FormatInt(i, 10) }

// take gives a place to a row that is about to be made.
func (r *room) take(owner string, kind byte, key string) {
	of := placeRow{string(kind) + key}
	h, _ := r.hands.Get(owner)
	if h.Taken < int64(r.limit) {
		r.places.Put(placeKey(owner, h.Taken), of)
		h.Taken++
		r.hands.Put(owner, h)
		return
	}
	var oldest string
	var victim placeRow
	least := int64(0)
	for i := range int64(looked) {
		at := placeKey(owner, (h.Next+i)%int64(r.limit))
		p, _ := r.places.Get(at)
		if seen := r.kinds[p.Of[0]].seen(p.Of[1:]); oldest == "" || seen < least {
			oldest, victim, least = at, p, seen
		}
	}
	r.kinds[victim.Of[0]].forget(victim.Of[1:])
	r.places.Put(oldest, of)
	h.Next = (h.Next + looked) % int64(r.limit)
	r.hands.Put(owner, h)
}
