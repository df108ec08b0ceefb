package state

import (
	"encoding/json"
	"time"
)

// Kinds of Event.
const (
	EventWorker  = "worker"  // a worker changed its state
	EventReload  = "reload"  // a reload began, or ended with Receipt
	EventApp     = "app"     // an app was added, stopped, deleted, scaled
	EventMessage = "message" // a Node worker's process.send
	EventNote    = "note"    // something a person should know
	EventLost    = "lost"    // this reader was too slow: Lost events are missing
)

// What happened to a worker (Event.What), as the live progress shows it.
const (
	WhatSpawned  = "spawned"
	WhatReady    = "ready"
	WhatSoaked   = "soaked"
	WhatDraining = "draining"
	WhatKilled   = "killed"
	WhatGone     = "gone"
	WhatExited   = "exited"
	WhatFailed   = "failed"
	WhatBackoff  = "waiting restart"
	WhatErrored  = "errored"
)

// Event is one line of the event stream.
type Event struct {
	Seq        uint64          `json:"seq"`
	Time       time.Time       `json:"time"`
	Kind       string          `json:"kind"`
	App        string          `json:"app,omitempty"`
	Slot       int             `json:"slot"`
	Worker     uint64          `json:"worker,omitempty"`
	Generation int             `json:"generation,omitempty"`
	PID        int             `json:"pid,omitempty"`
	What       string          `json:"what,omitempty"`
	Text       string          `json:"text,omitempty"` // for a person
	Lost       int             `json:"lost,omitempty"`
	Receipt    *Receipt        `json:"receipt,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
}
