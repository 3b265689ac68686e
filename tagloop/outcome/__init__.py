"""What a run left in its output folder, written for its report and read back; knows no task."""
