package listener

import "time"

// bucket lets a burst through, and then so many a second.
type bucket struct {
	burst, perSecond float64
	left             float64
	at               time.Time
}

func newBucket(burst, perSecond float64) bucket {
	return bucket{burst: burst, perSecond: perSecond, left: burst}
}

// take tells if one more may pass at now.
func (b *bucket) take(now time.Time) bool {
	if !b.at.IsZero() {
		b.left = min(b.burst, b.left+now.Sub(b.at).Seconds()*b.perSecond)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
