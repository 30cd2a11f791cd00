"""What a packet costs: nvid beside what others do for the same end. Run by scripts/bench."""
