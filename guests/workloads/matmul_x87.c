/* matmul_x87: products of 128 x 128 matrices of doubles, row by column, on the x87: a running sum in the register
 * stack. */

#include "matmul.h"

static void multiply(matrix c, matrix a, matrix b)
{
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
    }
}

uint32_t run_matmul_x87(uint32_t products)
{
    return repeat(products, multiply);
}
