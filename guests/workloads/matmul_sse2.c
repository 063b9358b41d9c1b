/* matmul_sse2: products of 128 x 128 matrices of doubles, row by row, two numbers at a time in the SSE2 registers. */

#include <emmintrin.h>
#include "matmul.h"

static void multiply(matrix c, matrix a, matrix b)
{
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j += 2) _mm_storeu_pd(&c[i][j], _mm_setzero_pd());
        for (int k = 0; k < N; k++) {
            __m128d factor = _mm_set1_pd(a[i][k]);
            for (int j = 0; j < N; j += 2) {
                __m128d term = _mm_mul_pd(factor, _mm_loadu_pd(&b[k][j]));
                _mm_storeu_pd(&c[i][j], _mm_add_pd(_mm_loadu_pd(&c[i][j]), term));
            }
        }
    }
}

uint32_t run_matmul_sse2(uint32_t products)
{
    return repeat(products, multiply);
}
