"""The models themselves beside PyTorch's: forward passes and steps of full fine-tuning."""
