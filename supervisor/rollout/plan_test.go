package rollout

import (
	"reflect"
	"testing"
)

func TestFirstOrdersOfARollingReload(t *testing.T) {
	v := View{
		Record:    Record{From: 1, To: 2, Phase: Progressing},
		Instances: 2, MaxSurge: 1,
		Workers: []Worker{
			{Key: 1, Slot: 0, Gen: 1, Online: true, Seat: true},
			{Key: 2, Slot: 1, Gen: 1, Online: true, Seat: true},
		},
	}
	rec, orders := Plan(v)
	if want := []Order{Spawn{Slot: 0, Gen: 2}}; !reflect.DeepEqual(orders, want) {
		t.Fatalf("orders %v, want %v", orders, want)
	}
	if rec.Phase != Progressing || rec.Result != Running {
		t.Fatalf("record %+v", rec)
	}
}
