"""Text: normalization, sentences, tokens, and phonemes for speech synthesis."""
