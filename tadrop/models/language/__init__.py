"""Language models: GPT-2 and RoBERTa as classifiers of sentences."""
