"""What the model is told, as text: who it is, what each task asks, how a fault is quoted back."""
