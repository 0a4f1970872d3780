"""What people are shown, whose it was, and what they answered. No stage but `preference` has it."""
