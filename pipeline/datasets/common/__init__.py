"""What several data set readers share."""
