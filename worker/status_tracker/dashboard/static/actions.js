// Buttons that act, after a question that says how much it is about.
