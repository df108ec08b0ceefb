package main

// rows are all there are, in the order of the report.
func rows() []row {
	all := []row{
		memoryRow("memory-2", 2, 1.0/4),
		memoryRow("memory-200", 200, 1.0/3),
		keeperRow(2),
		keeperRow(200),
		deathRow(),
		upgradeRow(),
		listRow(),
		reloadNodeRow(),
		reloadGoRow(),
		respawnRow(),
		spawnRow(),
		acceptNodeRow(),
		acceptGoRow(),
	}
	all = append(all, fairnessRows()...)
	all = append(all, blockedRow(), crashRow(), logsRow(), lostNodeRow())
	all = append(all, rivalRows()...)
	return append(all, scaleRow())
}
