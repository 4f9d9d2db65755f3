"""The pages: what people see of a deployment in a browser, also without JavaScript."""
