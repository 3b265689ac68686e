"""The task that learns to write down what is said in recordings: Whisper and its like."""
