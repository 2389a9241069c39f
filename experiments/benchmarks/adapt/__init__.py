"""What each method costs, in time, memory and operations, as shares of what full fine-tuning costs."""
