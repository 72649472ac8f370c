"""Publishing on the Hugging Face Hub: uploads, cards."""
