package p

var secret string
