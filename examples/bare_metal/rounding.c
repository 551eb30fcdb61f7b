/* Rounding, for CPUs that have no instruction for it: what libm gives elsewhere, exact everywhere. From 2⁵² on every double is whole. */
double rint(double x) {
  const double shift = __builtin_copysign(0x1p52, x);
  return __builtin_fabs(x) < 0x1p52 ? __builtin_copysign(x + shift - shift, x) : x;
}

double trunc(double x) { return __builtin_fabs(x) < 0x1p52 ? __builtin_copysign((double)(long long)x, x) : x; }

float rintf(float x) { return (float)rint(x); }

/* Half away from zero: a float and a half are exact in double. */
float roundf(float x) { return (float)trunc(x + __builtin_copysign(0.5, x)); }
