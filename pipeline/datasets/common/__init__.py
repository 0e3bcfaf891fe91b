"""Code that several data set readers share."""
