package cli

import (
	"encoding/json"
	"time"

	ucli "github.com/urfave/cli/v2"

	"supervisor/supervisor/state"
)

// defaultReceipts is how many reloads history shows.
const defaultReceipts = 10

func historyCommand() *command {
	return &command{
		name: "history", args: "[NAME]", max: 1,
		usage: "show the receipts of past reloads, the latest last",
		codes: clientCodes,
		flags: []ucli.Flag{
			&ucli.IntFlag{Name: "n", Usage: "`N`: how many", Value: defaultReceipts},
			jsonFlag(),
		},
		run: runHistory,
	}
}

// historyJSON is history's answer; the receipts are as they were written.
type historyJSON struct {
	Receipts []json.RawMessage `json:"receipts"`
}

func runHistory(s *session, c *ucli.Context) error {
	n := c.Int("n")
	if n < 1 {
		return usage("cannot show %d receipts: want at least 1", n)
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	ctx, cancel := s.context()
	defer cancel()
	raw, err := client.History(ctx, c.Args().First(), n)
	if err != nil {
		return err
	}
	if s.json {
		s.out.json(historyJSON{list(raw)})
		return nil
	}
	if len(raw) == 0 {
		s.out.linef("no reload yet")
	}
	for _, r := range raw {
		var receipt state.Receipt
		if err := json.Unmarshal(r, &receipt); err != nil {
			s.out.note("cannot read a receipt: " + err.Error())
			continue
		}
		if !receipt.StartedAt.IsZero() {
			s.out.linef("%s", s.out.paint(faint, receipt.StartedAt.Local().Format(time.DateTime)))
		}
		s.out.printReceipt(receipt)
	}
	return nil
}
