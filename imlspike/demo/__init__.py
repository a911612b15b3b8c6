"""A page that runs trained models in the browser, and the small server that shows it."""
